// The FastCGI worker: request threads, pending requests, event streams, and draining.
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
// is called, the socket is closed (and removed if the worker made it), running responses finish, pending requests are
// redirected to the same URL, and streams end.
void serve(const Handler& handler, metrics::Metrics& metrics, Listener listener, const ServerSettings& settings,
           const std::function<void()>& draining);

// Answers the environment's request (RFC 3875) on standard output and closes it; builds may continue.
void serve_cgi(const Handler& handler);

}  // namespace nixery::http
