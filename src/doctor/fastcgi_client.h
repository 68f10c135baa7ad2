// The web server's end of FastCGI, for one request: enough to ask a worker whether it is one.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doctor/stream.h"

namespace nixery::doctor {

// FCGI_BEGIN_REQUEST, FCGI_PARAMS and an empty FCGI_STDIN (FastCGI 1.0, sections 3 to 5), of a GET.
std::string fastcgi_request(const std::vector<std::pair<std::string, std::string>>& parameters);

// The whole CGI answer, head and body, at most 1 MiB. Throws Error{unavailable}, also for what is no FastCGI.
std::string receive_fastcgi_answer(Stream& stream);

// "Status: 404 Not Found" -> 404; 200 where the head does not say; 0 for what is no CGI answer.
int status_of_cgi_answer(std::string_view answer);

}  // namespace nixery::doctor
