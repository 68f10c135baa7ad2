// Where connections come in: one thread takes them, and hands on those whose request is there whole, down to its last
// parameter. So who sends a part of one, or nothing, holds none of the threads that answer.
//
// Over TCP, FCGI_WEB_SERVER_ADDRS (FastCGI 1.0, 3.2) names the addresses of those who are taken in, if it is set.
//
// Bounded: so many may stand here with a part of a request, each for a while; of more, the one that has stood for
// longest goes. Where the answering threads fall behind, connections wait with the kernel.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "http/fastcgi.h"

namespace nixery::http {

struct DoorwayLimits {
  std::size_t crowd = 200;
  std::chrono::milliseconds patience = std::chrono::seconds(10);
};

// How much of a request is there, by what has come on its connection (FastCGI 1.0, 3.3 and 5).
enum class Arrival { partly, wholly, never };
Arrival arrival_of(std::string_view bytes);

// Thread-safe.
class Doorway {
 public:
  explicit Doorway(Listener listener, DoorwayLimits limits = {});
  ~Doorway();

  // The next connection with a request to read, as soon as there is one; none after close(), once all were handed out.
  os::Fd next();

  // Takes no new connections: whoever tries finds nobody listening, or whoever else has the same socket. Those that
  // are here already, and wait with the kernel for a socket of our own, are handed out still. Returns when that is so.
  void close();

 private:
  struct Guest {
    os::Fd connection;
    std::chrono::steady_clock::time_point until;
  };
  using Guests = std::list<Guest>;  // in the order in which they came
  void attend();
  void take_in();
  void enter(os::Fd connection);
  void look_at(Guests::iterator guest, bool last);
  void hand_on(os::Fd connection);
  void leave(Guests::iterator guest);
  void show_out_late();

  const DoorwayLimits limits_;
  const std::optional<std::string> web_servers_;  // "10.0.0.7,10.0.0.8"
  Listener listener_;
  const os::Fd bell_, events_;  // an eventfd that close() rings; an epoll of everything waited for

  // The thread's.
  Guests guests_;
  std::map<int, Guests::iterator> by_descriptor_;
  bool last_call_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable arrived_, taken_;
  std::deque<os::Fd> ready_;
  bool closing_ = false, closed_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace nixery::http
