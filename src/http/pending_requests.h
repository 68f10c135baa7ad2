// Requests that wait for jobs (long polling), without a thread each: one thread answers those whose job has finished or
// whose deadline has passed, and drops those whose client has left.
//
// The number of places is limited, and shared fairly: when all are taken, a client with more than its share gives one
// up (jobs/client_shares.h).
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
  // `waiting` always shows how many there are. Throws Error{unavailable} if there are no descriptors left.
  PendingRequests(std::size_t capacity, metrics::Gauge& waiting);
  // Answers each request that still waits with a redirect to the same address, where another worker may take it.
  ~PendingRequests();

  // Takes the request. If all places are taken, either the newest request of the client with most, or this one, is
  // answered 429 at once.
  void add(Exchange exchange, Waiting waiting);
  std::size_t size() const;

 private:
  struct PendingRequest {
    std::uint64_t id;  // never used again, unlike its descriptor
    Exchange exchange;
    Waiting waiting;
    std::string client;
  };
  using Requests = std::list<PendingRequest>;  // the newest last

  // What a finished job signals; it may outlive the requests.
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
      watched_;  // jobs that will signal: one call of each, however many wait for it
  std::uint64_t next_id_ = 1;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace nixery::http
