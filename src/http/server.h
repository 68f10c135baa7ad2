// The FastCGI worker: threads that accept, a room where requests wait, and an orderly end.
#pragma once

#include "http/fastcgi.h"
#include "http/registry.h"
#include "http/stream_room.h"

namespace nixery::http {

struct ServerSettings {
  unsigned threads = 4;
  std::size_t max_waiting = 600;
  StreamLimits streams = {};
};

// Serves until SIGTERM or SIGINT, which the caller must have blocked in every thread. Then: no new requests, running
// answers finish, waiting ones are redirected to themselves, streams end, and it is not ready any more.
void serve(const Registry& registry, Status& status, metrics::Metrics& metrics, const Listener& listener,
           const ServerSettings& settings);

// Answers the one request of the environment (RFC 3875) on standard output and closes it; builds may go on.
void serve_cgi(const Registry& registry);

}  // namespace nixery::http
