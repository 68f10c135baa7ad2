// The FastCGI worker: threads that accept, a room where requests wait, and an orderly end.
#pragma once

#include "http/event_streams.h"
#include "http/listener.h"
#include "http/registry.h"

namespace nixery::http {

struct ServerSettings {
  unsigned threads = 4;
  std::size_t max_waiting = 600;
  StreamLimits streams = {};
};

// Serves until SIGTERM or SIGINT, which the caller must have blocked in every thread (os/signals.h). Then: it is not
// ready any more, its socket is closed (and, where it made it, removed), running answers finish, waiting requests are
// redirected to themselves, and streams end.
void serve(const Registry& registry, Status& status, metrics::Metrics& metrics, Listener listener,
           const ServerSettings& settings);

// Answers the one request of the environment (RFC 3875) on standard output and closes it; builds may go on.
void serve_cgi(const Registry& registry);

}  // namespace nixery::http
