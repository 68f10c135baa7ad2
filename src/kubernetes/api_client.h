// Requests to the API server, and to the registry: HTTP by libcurl.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "error.h"
#include "kubernetes/cluster_access.h"

namespace nixery::kubernetes {

struct Response {
  long status = 0;
  std::string body;
  std::string digest;                               // Docker-Content-Digest
  std::string location;                             // of a redirect
  std::optional<std::chrono::seconds> retry_after;  // never more than an hour
};

// An answer that is no success: of the API server a Status object, whose message and reason these are.
struct ApiError : Error {
  explicit ApiError(const std::string& request, const Response& response);
  long status;
  std::string reason;  // "Expired", "Conflict", "AlreadyExists"; may be empty
  std::optional<std::chrono::seconds> retry_after;
};

// The answer is longer than we take.
struct TooLarge : Error {
  explicit TooLarge(const std::string& message) : Error(Failure::unavailable, message) {}
};

inline constexpr const char* json_type = "application/json";
inline constexpr const char* apply_type = "application/apply-patch+yaml";  // JSON is YAML

inline constexpr std::chrono::seconds request_limit{30};

// Thread-safe. Requests end early, with Error{unavailable}, once `stop` is true. Connections are kept, each thread its
// own.
class ApiClient {
 public:
  ApiClient(ClusterAccess access, const std::stop_token& stop) : access_(std::move(access)), stop_(stop) {}

  // `path` begins with a slash and may have a query. Answers of 2xx; others throw ApiError, and no answer
  // Error{unavailable}.
  Response request(const std::string& method, const std::string& path, std::string_view body = {},
                   const char* content_type = json_type, std::chrono::seconds limit = request_limit) const;

  // GET whose body is handed over as it comes, for as long as it takes; a connection that is dead is noticed by TCP's
  // keep-alive, a server that never ends its answer after `limit`. What `sink` throws ends the request and is thrown
  // on.
  void stream(const std::string& path, std::chrono::seconds limit,
              const std::function<void(std::string_view)>& sink) const;

 private:
  ClusterAccess access_;
  const std::stop_token stop_;
};

// GET without credentials; any status. Redirects are not followed.
Response get(const std::string& url, const std::string& accept, std::chrono::seconds limit,
             const std::stop_token& stop);

}  // namespace nixery::kubernetes
