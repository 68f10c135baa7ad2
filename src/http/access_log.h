// Records each response: a counter, its duration, and a line in the log.
//
// The line has level info if the client waited for a build, otherwise debug. Unknown names are level debug, so that
// clients that try random names do not fill the log.
#pragma once

#include <chrono>
#include <cstdint>

#include "http/handler.h"
#include "http/message.h"
#include "metrics/metrics.h"

namespace nixery::http {

// One response, as far as it has been sent.
struct ResponseStats {
  int status = 0;
  std::uint64_t bytes = 0;  // of body
  bool waited = false;      // for a job
  std::chrono::steady_clock::time_point accepted = std::chrono::steady_clock::now();
};

// Thread-safe.
class AccessLog {
 public:
  // Both must outlive it.
  AccessLog(const Handler& handler, metrics::Metrics& metrics) : handler_(handler), metrics_(metrics) {}
  void note(const Request& request, const ResponseStats& answered) const;

 private:
  const Handler& handler_;
  metrics::Metrics& metrics_;
};

}  // namespace nixery::http
