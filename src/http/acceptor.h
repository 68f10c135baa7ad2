// Where connections come in: one thread accepts them, and hands on those whose request has arrived up to its last
// parameter. Slow or idle clients therefore never occupy a thread that answers.
//
// Over TCP, FCGI_WEB_SERVER_ADDRS (FastCGI 1.0, 3.2) names the addresses that may connect, if it is set.
//
// Bounded, and shared fairly (jobs/client_shares.h): of connections with an incomplete request, by who has connected;
// of complete requests that wait for a thread, by the client that the web server names: clients take turns. If there
// are more than the limit, an incomplete connection of the peer with most is closed; complete requests wait with the
// kernel.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "http/listener.h"
#include "http/web_servers.h"
#include "jobs/client_shares.h"
#include "jobs/fair_queue.h"

namespace nixery::http {

struct AcceptorLimits {
  std::size_t max_pending = 200;  // connections with an incomplete request
  std::chrono::milliseconds header_timeout = std::chrono::seconds(10);
  std::size_t max_ready = 256;  // complete requests that wait for a thread
};

// Thread-safe.
class Acceptor {
 public:
  // Throws Error{bad_config} if FCGI_WEB_SERVER_ADDRS holds something else than addresses.
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
    std::string peer;
    std::chrono::steady_clock::time_point until;
  };
  using PendingConnections = std::list<PendingConnection>;  // in the order in which they came
  void run();
  void accept_all();
  void add(os::Fd connection, const std::string& peer);
  void inspect(PendingConnections::iterator entry, bool last);
  void make_ready(os::Fd connection, const std::string& client);
  void drop_one_for(const std::string& peer);
  void drop(PendingConnections::iterator entry);
  void close_expired();

  const AcceptorLimits limits_;
  const std::optional<WebServers> web_servers_;  // nullopt: anybody who can connect
  Listener listener_;
  const os::Fd wakeup_, events_;  // an eventfd that close() rings; an epoll of everything waited for

  // The thread's.
  PendingConnections pending_;
  std::map<int, PendingConnections::iterator> by_descriptor_;
  jobs::ClientShares peers_;  // of pending_
  bool draining_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable ready_changed_, taken_;
  jobs::FairQueue turns_;  // of the keys of ready_
  std::map<std::string, os::Fd> ready_;
  std::uint64_t next_key_ = 0;
  bool closing_ = false, closed_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace nixery::http
