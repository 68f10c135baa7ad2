// Accepts connections in one thread and passes on those whose request has arrived up to its last parameter. Slow or
// idle clients therefore never occupy a request thread.
//
// Over TCP, FCGI_WEB_SERVER_ADDRS (FastCGI 1.0, 3.2) names the addresses that may connect, if it is set.
//
// Bounded, and shared fairly (jobs/client_shares.h): connections with an incomplete request by peer; complete requests
// that wait for a thread by the client that the web server names, in turns. Above the limit, an incomplete connection
// of the peer with the most is closed; complete requests stay queued in the kernel.
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
  // Throws Error{bad_config} if FCGI_WEB_SERVER_ADDRS is not a list of addresses.
  explicit Acceptor(Listener listener, AcceptorLimits limits = {});
  ~Acceptor();

  // Waits for the next connection with a complete request; empty after close() when all have been returned.
  os::Fd next();

  // Accepts no new connections: clients are refused or reach another process with the same socket. Connections that are
  // open or queued in the kernel on our own socket are still returned by next(). Returns when that is ensured.
  void close();

 private:
  struct PendingConnection {
    os::Fd connection;
    std::string peer;
    std::chrono::steady_clock::time_point until;
  };
  using PendingConnections = std::list<PendingConnection>;  // in order of arrival
  void run();
  void accept_all();
  void add(os::Fd connection, const std::string& peer);
  void inspect(PendingConnections::iterator entry, bool last);
  void make_ready(os::Fd connection, const std::string& client);
  void drop_one_for(const std::string& peer);
  void drop(PendingConnections::iterator entry);
  void close_expired();

  const AcceptorLimits limits_;
  const std::optional<WebServers> web_servers_;  // nullopt: any peer
  Listener listener_;
  const os::Fd wakeup_, events_;  // an eventfd that close() signals; an epoll of all awaited descriptors

  // Used by the thread only.
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
