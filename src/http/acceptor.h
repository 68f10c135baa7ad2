// Where connections come in: one thread takes them, and hands on those whose request is there whole, down to its last
// parameter. So who sends a part of one, or nothing, holds none of the threads that answer.
//
// Over TCP, FCGI_WEB_SERVER_ADDRS (FastCGI 1.0, 3.2) names the addresses of those who are taken in, if it is set.
//
// Bounded: so many may stand here with a part of a request, each for a while; of more, the one that has stood for
// max_request_size goes. Where the answering threads fall behind, connections wait with the kernel.
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

struct AcceptorLimits {
  std::size_t max_pending = 200;
  std::chrono::milliseconds header_timeout = std::chrono::seconds(10);
};

// How much of a request is there, by what has come on its connection (FastCGI 1.0, 3.3 and 5).
enum class RequestState { incomplete, complete, malformed };
RequestState request_state(std::string_view bytes);

// Thread-safe.
class Acceptor {
 public:
  explicit Acceptor(Listener listener, AcceptorLimits limits = {});
  ~Acceptor();

  // The next connection with a request to read, as soon as there is one; none after close(), once all were handed out.
  os::Fd next();

  // Takes no new connections: whoever tries finds nobody listening, or whoever else has the same socket. Those that
  // are here already, and wait with the kernel for a socket of our own, are handed out still. Returns when that is so.
  void close();

 private:
  struct PendingConnection {
    os::Fd connection;
    std::chrono::steady_clock::time_point until;
  };
  using PendingConnections = std::list<PendingConnection>;  // in the order in which they came
  void run();
  void accept_all();
  void add(os::Fd connection);
  void inspect(PendingConnections::iterator entry, bool last);
  void make_ready(os::Fd connection);
  void drop(PendingConnections::iterator entry);
  void close_expired();

  const AcceptorLimits limits_;
  const std::optional<std::string> web_servers_;  // "10.0.0.7,10.0.0.8"
  Listener listener_;
  const os::Fd wakeup_, events_;  // an eventfd that close() rings; an epoll of everything waited for

  // The thread's.
  PendingConnections pending_;
  std::map<int, PendingConnections::iterator> by_descriptor_;
  bool draining_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable ready_changed_, taken_;
  std::deque<os::Fd> ready_;
  bool closing_ = false, closed_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace nixery::http
