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
class WaitingRoom {
 public:
  // `waiting` always tells how many are in it.
  WaitingRoom(const Registry& registry, std::size_t capacity, metrics::Gauge& waiting);
  // Answers everybody who still waits with a redirect to the same address, where another worker may take them.
  ~WaitingRoom();

  // Takes the request; answers 503 at once if the room is full.
  void enter(Exchange exchange, Waiting waiting);
  std::size_t size() const;

 private:
  struct Guest {
    Exchange exchange;
    Waiting waiting;
  };
  // What a landing flight rings; it may outlive the room.
  struct Bell {
    std::mutex mutex;
    std::condition_variable rung;
    bool ringing = false;
  };
  void attend();
  void answer(Guest& guest) const;
  std::list<Guest> leaving();

  const Registry& registry_;
  const std::size_t capacity_;
  metrics::Gauge& waiting_;
  const std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();
  std::list<Guest> guests_;  // guarded by bell_->mutex, as is closing_
  bool closing_ = false;
  std::thread attendant_;
};

}  // namespace nixery::http
