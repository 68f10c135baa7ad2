// The FastCGI worker: threads that answer requests, requests that wait, event streams, and an orderly end.
#pragma once

#include <functional>

#include "http/event_streams.h"
#include "http/handler.h"
#include "http/listener.h"
#include "metrics/metrics.h"

namespace nixery::http {

struct ServerSettings {
  unsigned threads = 4;
  std::size_t max_waiting = 600;
  StreamLimits streams = {};
};

// Serves until SIGTERM or SIGINT, which the caller must have blocked in every thread (os/signals.h). Then: `draining`
// is called, its socket is closed (and, where it made it, removed), running answers finish, waiting requests are
// redirected to themselves, and streams end.
void serve(const Handler& handler, metrics::Metrics& metrics, Listener listener, const ServerSettings& settings,
           const std::function<void()>& draining);

// Answers the one request of the environment (RFC 3875) on standard output and closes it; builds may go on.
void serve_cgi(const Handler& handler);

}  // namespace nixery::http
