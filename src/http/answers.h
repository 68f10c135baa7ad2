// What we say: the one place where failures become HTTP (OCI distribution-spec v1.1, "Error Codes").
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "error.h"
#include "http/message.h"

namespace nixery::http {

// Statuses are chosen by what clients show to the person: docker, podman and skopeo print the message of a 400, 403,
// 404, 422, 424 or 429, and drop that of a 5xx. So what will fail again the same way is a 4xx. 429, too, has
// Retry-After: podman and skopeo come back by themselves then, so it stands for what passes soon, such as a full queue.
// 503 is for the registry's own trouble. The detail has the failure's name, the id of the request that this thread
// works for, and `declaration`: the hash of what is declared of the image, where it is declared.
Response answer_error(const Error& error, std::string_view declaration = {});
// What the puller is told of it: public_text(), or less where it is the operator's business alone.
std::string message_of(const Error& error);

// One line of the log.
void log_failure(const Request& request, const Error& error);
// For what is no Error: logs it, and says only that the registry could not answer.
Response answer_unexpected(const Request& request, const std::exception& error);

// With the headers that every response of the registry has.
Response response_of_type(int status, std::string_view content_type);
Response answer_json(std::string body);
// 307 to the same address, one hop further; never cached.
Response answer_redirect(const Request& request, unsigned hop);
unsigned hop_of(const Request& request);

}  // namespace nixery::http
