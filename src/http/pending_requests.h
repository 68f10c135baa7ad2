// Requests that wait for jobs (long polling), without a thread each: one thread answers those whose job has finished or
// whose deadline has passed, and drops those whose client has disconnected.
//
// The number of slots is limited and shared fairly: when all are taken, a client with more than its share loses one
// (jobs/client_shares.h).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "http/fastcgi.h"
#include "http/handler_result.h"
#include "jobs/client_shares.h"
#include "metrics/value.h"

namespace nixery::http {

// Thread-safe.
class PendingRequests {
 public:
  // `waiting` is kept at their number. Throws Error{unavailable} if there are no descriptors left.
  PendingRequests(std::size_t capacity, metrics::Gauge& waiting);
  // Redirects each pending request to the same URL, where another worker can take it.
  ~PendingRequests();

  // Takes over the request. If all slots are taken, either the newest request of the client with the most or this one
  // gets 429 at once.
  void add(Exchange exchange, Waiting waiting);

 private:
  struct PendingRequest {
    std::uint64_t id;  // unique, unlike its descriptor
    Exchange exchange;
    Waiting waiting;
    std::string client;
  };
  using Requests = std::list<PendingRequest>;  // the newest last

  // Signalled by finished jobs; may outlive the requests.
  struct Wakeup {
    os::Fd event;
    void signal() const;
  };

  void run();
  void answer(PendingRequest& request) const;
  int milliseconds_to_next_deadline() const;
  void take(Requests::iterator request, Requests& into);
  bool make_room_for(const std::string& client, Requests& evicted);

  const std::size_t capacity_;
  metrics::Gauge& waiting_;
  const std::shared_ptr<const Wakeup> wakeup_;
  const os::Fd events_;  // an epoll of the wakeup and of every request's connection

  mutable std::mutex mutex_;  // guards what follows
  Requests requests_;
  jobs::ClientShares shares_;
  std::set<std::shared_ptr<jobs::AnyJob>>
      watched_;  // jobs with a callback: one for each, regardless of how many requests wait
  std::uint64_t next_id_ = 1;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace nixery::http
