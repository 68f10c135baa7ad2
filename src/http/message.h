// Requests from the web server, and responses. Plain values, independent of FastCGI and CGI.
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
  std::string target;    // unchanged: path and query, undecoded
  std::string path;      // decoded, without the query; may hold any byte
  std::string query;     // undecoded
  Cause cause;           // nginx's request id, and the client's trace
  std::string client;    // address
  std::string scheme;    // "https"; empty if the server does not pass it
  std::string host;      // as the client wrote it, with the port; may hold any byte
  bool has_web = false;  // the server also serves the web page
};

// CGI's variables (RFC 3875) and nginx's additions -> Request; `get` returns null for unset variables.
Request read_request(const std::function<const char*(const char* name)>& get);

// The host to show to users: the request's if it has only letters, digits, '.', '-', ':' and brackets, else "HOST".
std::string shown_host(const Request& request);

// The value of the first parameter called `name`, undecoded.
std::optional<std::string_view> query_parameter(std::string_view query, std::string_view name);
// The query with `name` set to `value`: replaced, or appended.
std::string with_query_parameter(std::string_view query, std::string_view name, std::string_view value);

// A body that is an open file, so that removing the file meanwhile does not change the response.
struct FileBody {
  os::Fd fd;
  std::uint64_t size;  // bytes

  // Passes the bytes to `take` in pieces until that returns false. Fewer than `size` if the file was truncated.
  void read(const std::function<bool(std::string_view)>& take) const;
};

struct Response {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<FileBody> file;  // the body, if it is a file
  bool streamed = false;         // the body follows later, with unknown length

  Response& header(std::string name, std::string value) {
    headers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
};

std::string_view reason_phrase(int status);

// "Status: 200 OK\r\n…\r\n\r\n", for CGI and FastCGI. Adds Content-Length if the body is known, and X-Request-Id if
// there is one.
std::string head_of(const Response& response, std::string_view request_id = {});
// Bytes of the body, if known.
std::uint64_t length_of(const Response& response);

}  // namespace nixery::http
