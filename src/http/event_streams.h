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
#include "http/handler_result.h"

namespace nixery::http {

struct StreamLimits {
  std::size_t streams = 64;
  std::size_t per_client = 8;
  std::chrono::milliseconds max_duration = std::chrono::minutes(10);
  std::chrono::milliseconds write_timeout = std::chrono::seconds(30);  // with a client that reads nothing
};

// Thread-safe.
class EventStreams {
 public:
  // `open` always tells how many there are.
  EventStreams(StreamLimits limits, metrics::Gauge& open);
  ~EventStreams();  // ends all streams

  // Takes the request; answers 503 at once where there are too many.
  void add(Exchange exchange, Streaming streaming);

 private:
  struct Stream {
    Exchange exchange;
    Streaming streaming;
    std::string client;
    std::chrono::steady_clock::time_point end, last_sent;
    std::string unsent;
  };
  void run();
  bool send_next(Stream& stream) const;
  bool advance(Stream& stream) const;

  const StreamLimits limits_;
  metrics::Gauge& open_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::list<Stream> new_streams_;
  std::map<std::string, std::size_t> clients_;  // streams of each
  std::size_t size_ = 0;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace nixery::http
