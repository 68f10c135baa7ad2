// Requests that wait on builds, without a thread each: one thread answers whoever's build has landed or whose time is
// up.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "http/fastcgi.h"
#include "http/registry.h"

namespace nixery::http {

// Thread-safe.
class PendingRequests {
 public:
  // `waiting` always tells how many are in it.
  PendingRequests(const Registry& registry, std::size_t capacity, metrics::Gauge& waiting);
  // Answers everybody who still waits with a redirect to the same address, where another worker may take them.
  ~PendingRequests();

  // Takes the request; answers 503 at once if the queue is full.
  void add(Exchange exchange, Waiting waiting);
  std::size_t size() const;

 private:
  struct PendingRequest {
    Exchange exchange;
    Waiting waiting;
  };
  // What a result job rings; it may outlive the queue.
  struct Wakeup {
    std::mutex mutex;
    std::condition_variable changed;
    bool pending = false;
  };
  void run();
  void answer(PendingRequest& request) const;
  std::list<PendingRequest> take_finished();

  const Registry& registry_;
  const std::size_t capacity_;
  metrics::Gauge& waiting_;
  const std::shared_ptr<Wakeup> wakeup_ = std::make_shared<Wakeup>();
  std::list<PendingRequest> requests_;  // guarded by wakeup_->mutex, as is closing_
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace nixery::http
