// HTTP/1.1 requests by libcurl: package sources, the Kubernetes API, registries. Each thread keeps its connections and
// reuses them. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.h"

namespace nixery::http_client {

// PEM, each as text or in a file; empty: the system's authorities, and no client certificate.
struct Tls {
  std::string ca_pem, client_cert_pem, client_key_pem;
  std::filesystem::path ca_file, client_cert_file, client_key_file;
  bool is_verified = true;
};

struct Request {
  std::string url;  // http or https
  std::string method = "GET";
  std::vector<std::string> headers = {};  // "Name: value"
  std::string_view body = {};             // sent unless the method is GET or HEAD
  long max_redirects = 0;                 // to http and https; 0: a redirect is a response like any other
  bool accepts_compression = false;       // the body is decoded
  bool uses_proxy = true;                 // proxies of the environment: https_proxy, no_proxy, …
  std::string connect_to = {};            // host:port to connect to in place of the URL's; empty: the URL's
  const Tls* tls = nullptr;               // nullptr: the same as an empty Tls

  std::chrono::seconds connect_limit{20}, limit{120};  // the latter for the whole request
  std::chrono::seconds stall_limit{0};                 // at less than 1 KiB/s; 0: none
  std::uint64_t largest_body = 4u << 20;               // bytes, decoded
  // Receives the body of a 2xx in pieces; of other bodies the first MiB is kept. Its exceptions end the request and are
  // rethrown. It may send requests itself.
  std::function<void(std::string_view)> sink = {};
};

struct Response {
  long status = 0;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};  // of the last response; at most 256 KiB

  bool ok() const { return status >= 200 && status <= 299; }
  std::string header(std::string_view name) const;          // in either case; the first; empty if there is none
  std::optional<std::chrono::seconds> retry_after() const;  // at most an hour; nullopt also for a date
};

// The response has more than `largest_body` bytes.
struct TooLarge : Error {
  explicit TooLarge(const std::string& message) : Error(Failure::unavailable, message) {}
};

// Returns responses of any status. Passes on the thread's trace (cause.h). Throws Error{unavailable} without a complete
// response and within two seconds after `stop` is requested; TooLarge. Messages have the URL without credentials and
// query.
Response send(const Request& request, const std::stop_token& stop = {});

}  // namespace nixery::http_client
