// Answers that come in pieces, without a thread each: one thread asks every feed a few times a second what is new.
//
// Bounded in every way: so many streams, of which one client has a few; each ends after a while, whereupon browsers
// come back for the rest by themselves; and a client that does not read is dropped, not waited for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "http/fastcgi.h"
#include "http/outcome.h"

namespace nixery::http {

struct StreamLimits {
  std::size_t streams = 64;
  std::size_t of_a_client = 8;
  std::chrono::milliseconds length = std::chrono::minutes(10);
  std::chrono::milliseconds patience = std::chrono::seconds(30);  // with a client that reads nothing
};

// Thread-safe.
class StreamRoom {
 public:
  // `open` always tells how many there are.
  StreamRoom(StreamLimits limits, metrics::Gauge& open);
  ~StreamRoom();  // ends all streams

  // Takes the request; answers 503 at once where there are too many.
  void enter(Exchange exchange, Streaming streaming);

 private:
  struct Guest {
    Exchange exchange;
    Streaming streaming;
    std::string client;
    std::chrono::steady_clock::time_point end, last_sent;
    std::string unsent;
  };
  void attend();
  bool goes_on(Guest& guest) const;
  bool look_at(Guest& guest) const;

  const StreamLimits limits_;
  metrics::Gauge& open_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::list<Guest> arrivals_;
  std::map<std::string, std::size_t> clients_;  // streams of each
  std::size_t size_ = 0;
  bool closing_ = false;
  std::thread attendant_;
};

}  // namespace nixery::http
