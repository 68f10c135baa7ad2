// Requests to the API server.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "error.h"
#include "http_client/http_client.h"
#include "kubernetes/cluster_access.h"

namespace nixery::kubernetes {

// A response that is no success. The API server's body is a Status object, whose message and reason these are.
struct ApiError : Error {
  ApiError(const std::string& request, const http_client::Response& response);
  ApiError(const std::string& message, long error_status, std::optional<std::chrono::seconds> wait)
      : Error(Failure::unavailable, message), status(error_status), retry_after(wait) {}
  long status;
  std::string reason;  // "Expired", "Conflict", "AlreadyExists"; may be empty
  std::optional<std::chrono::seconds> retry_after;
};

inline constexpr const char* json_type = "application/json";
inline constexpr const char* apply_type = "application/apply-patch+yaml";  // JSON is YAML

inline constexpr std::chrono::seconds request_limit{30};

// Thread-safe. Requests end early, with Error{unavailable}, once `stop` is requested.
class ApiClient {
 public:
  ApiClient(ClusterAccess access, const std::stop_token& stop) : access_(std::move(access)), stop_(stop) {}

  // `path` begins with a slash and may have a query. Returns responses of 2xx. Throws ApiError for others, and as
  // http_client::send().
  http_client::Response request(const std::string& method, const std::string& path, std::string_view body = {},
                                const char* content_type = json_type, std::chrono::seconds limit = request_limit) const;

  // GET whose body `sink` takes as it comes. TCP's keep-alive notices a dead connection; `limit` ends a response that
  // the server never ends. What `sink` throws ends the request and reaches the caller.
  void stream(const std::string& path, std::chrono::seconds limit,
              const std::function<void(std::string_view)>& sink) const;

 private:
  http_client::Response send(http_client::Request request, const std::string& path) const;

  ClusterAccess access_;
  const std::stop_token stop_;
};

// GET without credentials; any status. Redirects are not followed, and no proxy is used.
http_client::Response get(const std::string& url, const std::string& accept, std::chrono::seconds limit,
                          const std::stop_token& stop);

}  // namespace nixery::kubernetes
