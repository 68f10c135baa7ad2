#include "http/acceptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>
#include <vector>

#include "http/request_head.h"
#include "log.h"

namespace nixery::http {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t max_request_size = 128u << 10;  // longest request head; web servers allow half of that
constexpr int max_accepts = 2048;                     // connections accepted at a time; above any backlog of ours
constexpr std::chrono::milliseconds accept_backoff{50};
constexpr std::chrono::seconds drain_timeout{1};  // time for incomplete requests to arrive after close()

void watch(int events, int fd, std::uint32_t what) {
  epoll_event event{};
  event.events = what;
  event.data.fd = fd;
  epoll_ctl(events, EPOLL_CTL_ADD, fd, &event);
}

RequestHead head_on(int connection) {
  thread_local std::vector<char> bytes(max_request_size);
  const ssize_t n = recv(connection, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (n < 0) return {errno == EAGAIN || errno == EINTR ? RequestState::incomplete : RequestState::malformed};
  if (n == 0) return {RequestState::malformed};
  RequestHead head = read_head({bytes.data(), static_cast<std::size_t>(n)});
  if (head.state == RequestState::incomplete && static_cast<std::size_t>(n) == max_request_size)
    head.state = RequestState::malformed;
  return head;
}

// The address of a TCP connection, without its port; empty for a Unix socket, whose peers are all on this machine.
std::string address_of(const sockaddr_storage& peer, socklen_t size) {
  char name[NI_MAXHOST];
  if (peer.ss_family == AF_UNIX ||
      getnameinfo(reinterpret_cast<const sockaddr*>(&peer), size, name, sizeof name, nullptr, 0, NI_NUMERICHOST) != 0)
    return {};
  return jobs::client_of_address(name);
}

bool has_hung_up(int connection) {
  pollfd state{connection, POLLRDHUP, 0};
  return poll(&state, 1, 0) == 1;
}

// An empty value counts as unset, as for libfcgi.
std::optional<WebServers> web_servers_of_environment() {
  const char* addresses = std::getenv("FCGI_WEB_SERVER_ADDRS");
  return addresses && *addresses ? std::optional(WebServers::parse(addresses)) : std::nullopt;
}

}  // namespace

Acceptor::Acceptor(Listener listener, AcceptorLimits limits)
    : limits_(limits),
      web_servers_(web_servers_of_environment()),
      listener_(std::move(listener)),
      wakeup_(eventfd(0, EFD_CLOEXEC)),
      events_(epoll_create1(EPOLL_CLOEXEC)) {
  // Other processes may wake for the same connection: a late one must not block in accept().
  fcntl(listener_.fd.get(), F_SETFL, fcntl(listener_.fd.get(), F_GETFL) | O_NONBLOCK);
  // Over TCP, the request head must fit into the kernel's receive buffer.
  const int room = 2 * max_request_size;
  setsockopt(listener_.fd.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  watch(events_.get(), wakeup_.get(), EPOLLIN);
  watch(events_.get(), listener_.fd.get(), EPOLLIN);
  thread_ = std::thread([this] { run(); });
}

Acceptor::~Acceptor() {
  close();
}

os::Fd Acceptor::next() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_changed_.wait(lock, [this] { return closed_ || !ready_.empty(); });
    if (ready_.empty()) return {};
    os::Fd connection = std::move(ready_.extract(turns_.pop({}, false)->key).mapped());
    taken_.notify_one();
    if (!has_hung_up(connection.get())) return connection;  // otherwise the client has disconnected
  }
}

void Acceptor::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  taken_.notify_all();
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(wakeup_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
}

void Acceptor::run() {
  std::array<epoll_event, 64> events;
  while (!draining_ || !pending_.empty()) {
    int wait = -1;
    if (!pending_.empty()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(pending_.front().until - Clock::now());
      wait = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
    }
    const int count = epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), wait);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == wakeup_.get()) {
        close_expired();
      } else if (fd == listener_.fd.get()) {
        accept_all();
      } else if (const auto found = by_descriptor_.find(fd); found != by_descriptor_.end()) {
        inspect(found->second, events[static_cast<std::size_t>(i)].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
      }
    }
    while (!pending_.empty() && pending_.front().until <= Clock::now()) inspect(pending_.begin(), true);
  }
  const std::lock_guard lock(mutex_);
  closed_ = true;
  ready_changed_.notify_all();
}

// Draining: accepts nothing new and gives incomplete requests a moment.
void Acceptor::close_expired() {
  epoll_ctl(events_.get(), EPOLL_CTL_DEL, wakeup_.get(), nullptr);
  if (!listener_.handed_over) {
    listener_.name.remove();
    accept_all();  // no other process would
  }
  listener_.fd.reset();
  draining_ = true;
  const auto end = Clock::now() + drain_timeout;
  for (PendingConnection& connection : pending_) connection.until = std::min(connection.until, end);
}

void Acceptor::accept_all() {
  for (int tries = 0; tries < max_accepts; ++tries) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    // Nix must not inherit the descriptor.
    os::Fd connection(accept4(listener_.fd.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
    if (connection) {
      if (web_servers_ && peer.ss_family != AF_UNIX && !web_servers_->contains(peer)) continue;
      add(std::move(connection), address_of(peer, size));
    } else if (errno == EMFILE || errno == ENFILE) {
      // accept() fails with it even if no connection waits. Running requests free descriptors soon.
      pollfd somebody{listener_.fd.get(), POLLIN, 0};
      if (poll(&somebody, 1, 0) <= 0) return;
      if (!pending_.empty()) inspect(pending_.begin(), true);
      std::this_thread::sleep_for(accept_backoff);
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

void Acceptor::add(os::Fd connection, const std::string& peer) {
  const int yes = 1;
  setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);  // no effect on other sockets
  const RequestHead head = head_on(connection.get());
  switch (head.state) {
    case RequestState::complete: make_ready(std::move(connection), head.client); return;
    case RequestState::malformed: return;
    case RequestState::incomplete: break;
  }
  if (pending_.size() >= limits_.max_pending) drop_one_for(peer);
  const int fd = connection.get();
  pending_.push_back({std::move(connection), peer, Clock::now() + limits_.header_timeout});
  by_descriptor_[fd] = std::prev(pending_.end());
  peers_.add(peer);
  watch(events_.get(), fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
}

// The oldest connection of the peer with the most, or of this one if no other has more than its share.
void Acceptor::drop_one_for(const std::string& peer) {
  const auto candidates = peers_.above_share_of(peer);
  const std::string& from = candidates.empty() ? peer : candidates.front();
  auto oldest = std::ranges::find(pending_, from, &PendingConnection::peer);
  if (oldest == pending_.end()) oldest = pending_.begin();  // all peers have one
  inspect(oldest, true);
}

// `last`: does not wait for more. A connection is closed only after such a read, because its request may have arrived
// with the event still unhandled.
void Acceptor::inspect(PendingConnections::iterator entry, bool last) {
  const RequestHead head = head_on(entry->connection.get());
  if (head.state == RequestState::incomplete && !last) return;
  if (head.state != RequestState::complete) return drop(entry);
  epoll_ctl(events_.get(), EPOLL_CTL_DEL, entry->connection.get(), nullptr);
  os::Fd connection = std::move(entry->connection);
  by_descriptor_.erase(connection.get());
  peers_.remove(entry->peer);
  pending_.erase(entry);
  make_ready(std::move(connection), head.client);
}

void Acceptor::make_ready(os::Fd connection, const std::string& client) {
  {
    std::unique_lock lock(mutex_);
    taken_.wait(lock, [this] { return closing_ || ready_.size() < limits_.max_ready; });
    const std::string key = std::to_string(next_key_++);
    turns_.push(jobs::client_of_address(client), key);
    ready_.emplace(key, std::move(connection));
  }
  ready_changed_.notify_one();
}

void Acceptor::drop(PendingConnections::iterator entry) {
  by_descriptor_.erase(entry->connection.get());
  peers_.remove(entry->peer);
  pending_.erase(entry);  // closing also removes it from the epoll
}

}  // namespace nixery::http
