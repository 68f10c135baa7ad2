// Status of the registry for monitoring:
//
//   /metrics   metrics (metrics/page.h) of this worker only
//   /healthz   200 as long as the worker lives
//   /readyz    200 if it could build now, else 503; a JSON body names each check (readiness.h)
//
// The web server controls access (nginx/nixery-status.conf).
#pragma once

#include <functional>

#include "health/readiness.h"
#include "http/message.h"
#include "metrics/page.h"

namespace nixery::health {

// Thread-safe, if `read` is.
class Status {
 public:
  using Read = std::function<metrics::Readings()>;
  // `probe` must outlive it.
  Status(const metrics::Metrics& metrics, Read read, const tree::BlobStore& store, nix::BuildProbe& probe,
         ReadinessSettings settings)
      : metrics_(metrics), read_(std::move(read)), readiness_(store, probe, settings) {}

  http::Response metrics() const;
  http::Response health() const;
  http::Response ready();

  // Draining has begun: the worker is no longer ready.
  void drain() { readiness_.drain(); }

 private:
  const metrics::Metrics& metrics_;
  const Read read_;
  Readiness readiness_;
};

}  // namespace nixery::health
