#include "kubernetes/api_client.h"

#include <fmt/format.h>

#include <limits>

#include "json/json.h"
#include "os/file.h"

namespace nixery::kubernetes {

namespace {

constexpr std::uint64_t largest_body = 8u << 20;  // bytes of one page of a list; an object has at most 3 MiB

// As kubectl: the token in the file, which is replaced now and then, before one that was written down once.
std::string token_of(const ClusterAccess& access) {
  if (access.token_file.empty()) return access.token;
  std::string token, problem = fmt::format("{} contains no token", access.token_file.string());
  try {
    token = os::read_if_exists(access.token_file).value_or("");
  } catch (const Error& error) {
    problem = error.what();
  }
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (!token.empty()) return token;
  if (access.token.empty()) throw Error(Failure::unavailable, problem);
  return access.token;
}

// A proxy of the environment is for servers outside the cluster.
http_client::Request request_for(const std::string& url, const std::string& accept, std::chrono::seconds limit) {
  http_client::Request request{.url = url, .headers = {"Accept: " + accept}};
  request.uses_proxy = false;
  request.connect_limit = std::chrono::seconds(10);
  request.limit = limit;
  request.largest_body = largest_body;
  return request;
}

// A field of a Status object; empty if the body is none.
std::string field_of(const http_client::Response& response, const char* name) {
  try {
    return json::string_or(json::parse(response.body, "the response"), name, "");
  } catch (const Error&) {
    return {};
  }
}

std::string message_of(const std::string& request, const http_client::Response& response) {
  const std::string message = field_of(response, "message");
  return fmt::format("{}: HTTP status {}{}{}", request, response.status, message.empty() ? "" : ": ", message);
}

}  // namespace

ApiError::ApiError(const std::string& request, const http_client::Response& response)
    : Error(Failure::unavailable, message_of(request, response)),
      status(response.status),
      reason(field_of(response, "reason")),
      retry_after(response.retry_after()) {}

http_client::Response ApiClient::send(http_client::Request request, const std::string& path) const {
  if (const std::string token = token_of(access_); !token.empty())
    request.headers.push_back("Authorization: Bearer " + token);
  request.tls = &access_.tls;
  http_client::Response response = http_client::send(request, stop_);
  if (!response.ok()) throw ApiError(fmt::format("{} {}", request.method, path.substr(0, path.find('?'))), response);
  return response;
}

http_client::Response ApiClient::request(const std::string& method, const std::string& path, std::string_view body,
                                         const char* content_type, std::chrono::seconds limit) const {
  http_client::Request request = request_for(access_.server + path, json_type, limit);
  request.method = method;
  request.body = body;
  if (method != "GET") request.headers.push_back(fmt::format("Content-Type: {}", content_type));
  return send(std::move(request), path);
}

void ApiClient::stream(const std::string& path, std::chrono::seconds limit,
                       const std::function<void(std::string_view)>& sink) const {
  http_client::Request request = request_for(access_.server + path, json_type, limit);
  request.largest_body = std::numeric_limits<std::uint64_t>::max();
  request.sink = sink;
  send(std::move(request), path);
}

http_client::Response get(const std::string& url, const std::string& accept, std::chrono::seconds limit,
                          const std::stop_token& stop) {
  return http_client::send(request_for(url, accept, limit), stop);
}

}  // namespace nixery::kubernetes
