#include "http/message.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "error.h"
#include "os/file.h"
#include "text/encoding.h"

namespace nixery::http {

namespace {

template <typename Visit>
void for_each_parameter(std::string_view query, Visit&& visit) {
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    if (end > 0) visit(query.substr(0, end));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
}

bool is_named(std::string_view parameter, std::string_view name) {
  return parameter.starts_with(name) && (parameter.size() == name.size() || parameter[name.size()] == '=');
}

}  // namespace

std::optional<std::string_view> query_parameter(std::string_view query, std::string_view name) {
  std::optional<std::string_view> value;
  for_each_parameter(query, [&](std::string_view parameter) {
    if (!value && is_named(parameter, name)) value = parameter.substr(std::min(name.size() + 1, parameter.size()));
  });
  return value;
}

std::string with_query_parameter(std::string_view query, std::string_view name, std::string_view value) {
  std::string rest;
  for_each_parameter(query, [&](std::string_view parameter) {
    if (!is_named(parameter, name)) rest += fmt::format("{}&", parameter);
  });
  return fmt::format("{}{}={}", rest, name, value);
}

Request read_request(const std::function<const char*(const char*)>& get) {
  const auto text = [&](const char* name) {
    const char* value = get(name);
    return std::string(value ? value : "");
  };
  Request request;
  request.method = text("REQUEST_METHOD");
  request.target = text("REQUEST_URI");
  // Servers without REQUEST_URI pass its parts.
  if (request.target.empty()) {
    request.target = text("SCRIPT_NAME") + text("PATH_INFO");
    if (const std::string query = text("QUERY_STRING"); !query.empty()) request.target += "?" + query;
  }
  const auto question = request.target.find('?');
  if (question != std::string::npos) request.query = request.target.substr(question + 1);
  // Malformed escapes stay; no route or name contains '%'.
  const std::string path = request.target.substr(0, question);
  request.path = text::percent_decode(path).value_or(path);
  request.cause = {checked_request_id(text("NIXERY_REQUEST_ID")), TraceParent::parse(text("HTTP_TRACEPARENT"))};
  request.client = text("REMOTE_ADDR");
  request.scheme = text("REQUEST_SCHEME");
  request.host = text("HTTP_HOST");
  request.has_web = !text("NIXERY_HAS_WEB").empty();
  return request;
}

std::string shown_host(const Request& request) {
  const auto allowed = [](char c) {
    return text::is_alnum(c) || std::string_view(".-:[]").find(c) != std::string_view::npos;
  };
  const bool shown = !request.host.empty() && request.host.size() <= 255 && text::all(request.host, allowed);
  return shown ? request.host : "HOST";
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 202: return "Accepted";
    case 206: return "Partial Content";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 422: return "Unprocessable Content";
    case 424: return "Failed Dependency";
    case 429: return "Too Many Requests";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Unknown";
  }
}

void FileBody::read(const std::function<bool(std::string_view)>& take) const {
  char buffer[65536];
  for (std::uint64_t done = 0; done < size;) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(size - done, sizeof buffer));
    const ssize_t n = pread(fd.get(), buffer, wanted, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || !take({buffer, static_cast<std::size_t>(n)})) return;
    done += static_cast<std::uint64_t>(n);
  }
}

std::uint64_t length_of(const Response& response) {
  return response.file ? response.file->size : response.body.size();
}

std::string head_of(const Response& response, std::string_view request_id) {
  std::string head = fmt::format("Status: {} {}\r\n", response.status, reason_phrase(response.status));
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (!request_id.empty()) head += fmt::format("X-Request-Id: {}\r\n", request_id);
  if (response.streamed) return head + "\r\n";
  return head + fmt::format("Content-Length: {}\r\n\r\n", length_of(response));
}

}  // namespace nixery::http
