// Responses in pieces, without a thread each: one thread polls every feed a few times per second.
//
// Bounded: the number of streams, in total and of one client, and their duration; browsers reconnect by themselves at
// the end. When all slots are taken, a client with more than its share loses one (jobs/client_shares.h). A client that
// does not read or has disconnected is dropped.
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
#include "jobs/client_shares.h"

namespace nixery::http {

struct StreamLimits {
  std::size_t streams = 64;
  std::size_t per_client = 8;
  std::chrono::milliseconds max_duration = std::chrono::minutes(10);
  std::chrono::milliseconds write_timeout = std::chrono::seconds(30);  // for a client that reads nothing
};

// Thread-safe.
class EventStreams {
 public:
  // `open` is kept at the number of streams.
  EventStreams(StreamLimits limits, metrics::Gauge& open);
  ~EventStreams();  // ends all streams

  // Takes over the request. If all slots are taken, either the newest stream of the client with the most is ended, or
  // this request gets 429 at once.
  void add(Exchange exchange, Streaming streaming);

 private:
  struct Stream {
    Exchange exchange;
    Streaming streaming;
    std::string client;
    std::chrono::steady_clock::time_point end, last_sent;
    std::string unsent;
  };
  bool admit(const std::string& client);
  void end_evicted(std::list<Stream>& streams, std::list<Stream>& leaving);
  void run();
  bool send_next(Stream& stream) const;
  bool advance(Stream& stream) const;

  const StreamLimits limits_;
  metrics::Gauge& open_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::list<Stream> new_streams_;
  jobs::ClientShares shares_;
  std::map<std::string, std::size_t> evicted_;  // streams to be ended, by client; they hold no slot any more
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace nixery::http
