// A request as the web server hands it over, and what we answer. Plain values, whoever carries them (FastCGI, CGI).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cause.h"
#include "os/fd.h"

namespace nixery::http {

struct Request {
  std::string method;    // "GET"
  std::string target;    // as it came: path and query, undecoded
  std::string path;      // decoded, without the query; may hold any byte
  std::string query;     // undecoded
  Cause cause;           // nginx's id of it, and the client's trace
  std::string client;    // address
  std::string scheme;    // "https"; empty where the server does not say
  std::string host;      // as the client wrote it, with the port; may hold any byte
  bool has_web = false;  // the server has the addresses of the web page, too
};

// CGI's variables (RFC 3875) and nginx's additions -> Request; `get` returns null for what is not set.
Request read_request(const std::function<const char*(const char* name)>& get);

// The host to show to people: the request's if it has only letters, digits, '.', '-', ':' and brackets, else "HOST".
std::string shown_host(const Request& request);

// The value of the first parameter called `name`, undecoded.
std::optional<std::string_view> query_parameter(std::string_view query, std::string_view name);
// The query with `name` set to `value`: replaced, or appended.
std::string with_query_parameter(std::string_view query, std::string_view name, std::string_view value);

// A body that is a file: opened by whoever chose it, so that nobody's removing it meanwhile makes another answer of it.
struct FileBody {
  os::Fd fd;
  std::uint64_t size;  // bytes

  // Hands its bytes to `take`, a piece at a time, until that says false. Fewer than `size` where the file was cut
  // short.
  void read(const std::function<bool(std::string_view)>& take) const;
};

struct Response {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<FileBody> file;  // the body, where it is a file
  bool streamed = false;         // the body comes later, and nobody knows how long it will be

  Response& header(std::string name, std::string value) {
    headers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
};

std::string_view reason_phrase(int status);

// "Status: 200 OK\r\n…\r\n\r\n", for CGI and FastCGI. Content-Length is added where the body is known, and X-Request-Id
// where there is one.
std::string head_of(const Response& response, std::string_view request_id = {});
// Bytes of its body, as far as it is known.
std::uint64_t length_of(const Response& response);

}  // namespace nixery::http
