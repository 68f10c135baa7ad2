#include "http/doorway.h"

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

#include "log.h"

namespace nixery::http {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t longest = 128u << 10;  // request that we look at; web servers give up at half of that
constexpr std::size_t ahead = 16;            // whole requests that wait for a thread here, not with the kernel
constexpr int at_once = 2048;                // connections, before we look at other things; above any backlog of ours
constexpr std::chrono::milliseconds breath{50};
constexpr std::chrono::seconds last_patience{1};  // with those that are half in when we close

// FastCGI's record types that matter here.
constexpr unsigned begin_request = 1, parameters = 4;

unsigned byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

void watch(int events, int fd, std::uint32_t what) {
  epoll_event event{};
  event.events = what;
  event.data.fd = fd;
  epoll_ctl(events, EPOLL_CTL_ADD, fd, &event);
}

Arrival arrival_on(int connection) {
  thread_local std::vector<char> bytes(longest);
  const ssize_t n = recv(connection, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? Arrival::partly : Arrival::never;
  if (n == 0) return Arrival::never;
  const Arrival arrival = arrival_of({bytes.data(), static_cast<std::size_t>(n)});
  return arrival == Arrival::partly && static_cast<std::size_t>(n) == longest ? Arrival::never : arrival;
}

std::optional<std::string> web_servers_of_environment() {
  const char* addresses = std::getenv("FCGI_WEB_SERVER_ADDRS");
  return addresses ? std::optional<std::string>(addresses) : std::nullopt;
}

bool is_one_of(const sockaddr_storage& peer, socklen_t size, const std::string& addresses) {
  char name[NI_MAXHOST];
  if (peer.ss_family == AF_UNIX) return true;
  return getnameinfo(reinterpret_cast<const sockaddr*>(&peer), size, name, sizeof name, nullptr, 0, NI_NUMERICHOST) ==
             0 &&
         fmt::format(",{},", addresses).find(fmt::format(",{},", name)) != std::string::npos;
}

}  // namespace

Arrival arrival_of(std::string_view bytes) {
  unsigned request = 0;  // 0: it has not begun
  while (bytes.size() >= 8) {
    const unsigned type = byte_at(bytes, 1), id = byte_at(bytes, 2) << 8 | byte_at(bytes, 3);
    const std::size_t length = byte_at(bytes, 4) << 8 | byte_at(bytes, 5), padding = byte_at(bytes, 6);
    if (byte_at(bytes, 0) != 1) return Arrival::never;
    if (id == 0) {
      // Of the connection, not of a request.
    } else if (request == 0) {
      if (type != begin_request || length != 8) return Arrival::never;
      request = id;
    } else if (type == parameters && id == request && length == 0) {
      return Arrival::wholly;
    }
    if (bytes.size() < 8 + length + padding) break;
    bytes.remove_prefix(8 + length + padding);
  }
  return Arrival::partly;
}

Doorway::Doorway(Listener listener, DoorwayLimits limits)
    : limits_(limits),
      web_servers_(web_servers_of_environment()),
      listener_(std::move(listener)),
      bell_(eventfd(0, EFD_CLOEXEC)),
      events_(epoll_create1(EPOLL_CLOEXEC)) {
  // Other processes may wake for the same connection: who comes too late must not stay in accept().
  fcntl(listener_.fd.get(), F_SETFL, fcntl(listener_.fd.get(), F_GETFL) | O_NONBLOCK);
  // Over TCP, all that we look at must fit into what the kernel keeps.
  const int room = 2 * longest;
  setsockopt(listener_.fd.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  watch(events_.get(), bell_.get(), EPOLLIN);
  watch(events_.get(), listener_.fd.get(), EPOLLIN);
  thread_ = std::thread([this] { attend(); });
}

Doorway::~Doorway() {
  close();
}

os::Fd Doorway::next() {
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [this] { return closed_ || !ready_.empty(); });
  if (ready_.empty()) return {};
  os::Fd connection = std::move(ready_.front());
  ready_.pop_front();
  taken_.notify_one();
  return connection;
}

void Doorway::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  taken_.notify_all();
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(bell_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
}

void Doorway::attend() {
  std::array<epoll_event, 64> events;
  while (!last_call_ || !guests_.empty()) {
    int wait = -1;
    if (!guests_.empty()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(guests_.front().until - Clock::now());
      wait = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
    }
    const int count = epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), wait);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == bell_.get()) {
        show_out_late();
      } else if (fd == listener_.fd.get()) {
        take_in();
      } else if (const auto found = by_descriptor_.find(fd); found != by_descriptor_.end()) {
        look_at(found->second, events[static_cast<std::size_t>(i)].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
      }
    }
    while (!guests_.empty() && guests_.front().until <= Clock::now()) look_at(guests_.begin(), true);
  }
  const std::lock_guard lock(mutex_);
  closed_ = true;
  arrived_.notify_all();
}

// The end: nobody new, and those that are here have a moment.
void Doorway::show_out_late() {
  epoll_ctl(events_.get(), EPOLL_CTL_DEL, bell_.get(), nullptr);
  if (!listener_.path.empty()) {
    unlink(listener_.path.c_str());
    take_in();  // nobody else would
  }
  listener_.fd.reset();
  last_call_ = true;
  const auto end = Clock::now() + last_patience;
  for (Guest& guest : guests_) guest.until = std::min(guest.until, end);
}

void Doorway::take_in() {
  for (int tries = 0; tries < at_once; ++tries) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    // Nix must not inherit it.
    os::Fd connection(accept4(listener_.fd.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
    if (connection) {
      if (web_servers_ && !is_one_of(peer, size, *web_servers_)) continue;
      enter(std::move(connection));
    } else if (errno == EMFILE || errno == ENFILE) {
      // It says so, too, where nobody is there. The requests in the air free some soon.
      pollfd somebody{listener_.fd.get(), POLLIN, 0};
      if (poll(&somebody, 1, 0) <= 0) return;
      if (!guests_.empty()) look_at(guests_.begin(), true);
      std::this_thread::sleep_for(breath);
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

void Doorway::enter(os::Fd connection) {
  const int yes = 1;
  setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);  // of no meaning for another kind
  switch (arrival_on(connection.get())) {
    case Arrival::wholly: hand_on(std::move(connection)); return;
    case Arrival::never: return;
    case Arrival::partly: break;
  }
  if (guests_.size() >= limits_.crowd) look_at(guests_.begin(), true);
  const int fd = connection.get();
  guests_.push_back({std::move(connection), Clock::now() + limits_.patience});
  by_descriptor_[fd] = std::prev(guests_.end());
  watch(events_.get(), fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
}

// `last`: nothing more is waited for. A guest goes only after such a look: its request may be here, and the event that
// tells so still to be handled.
void Doorway::look_at(Guests::iterator guest, bool last) {
  const Arrival arrival = arrival_on(guest->connection.get());
  if (arrival == Arrival::partly && !last) return;
  if (arrival != Arrival::wholly) return leave(guest);
  epoll_ctl(events_.get(), EPOLL_CTL_DEL, guest->connection.get(), nullptr);
  by_descriptor_.erase(guest->connection.get());
  os::Fd connection = std::move(guest->connection);
  guests_.erase(guest);
  hand_on(std::move(connection));
}

void Doorway::hand_on(os::Fd connection) {
  {
    std::unique_lock lock(mutex_);
    taken_.wait(lock, [this] { return closing_ || ready_.size() < ahead; });
    ready_.push_back(std::move(connection));
  }
  arrived_.notify_one();
}

void Doorway::leave(Guests::iterator guest) {
  by_descriptor_.erase(guest->connection.get());
  guests_.erase(guest);  // closed, it is out of the epoll, too
}

}  // namespace nixery::http
