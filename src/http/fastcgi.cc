#include "http/fastcgi.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include "error.h"
#include "os/file.h"

namespace nixery::http {

namespace {

constexpr int backlog = 1024;
constexpr int systemd_first = 3;  // SD_LISTEN_FDS_START
constexpr rlim_t select_limit = FD_SETSIZE;
constexpr int probes = 20;  // of a socket that answers
constexpr std::chrono::milliseconds between_probes{100};

bool is_listening(int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

bool is_handed_over_by_systemd() {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  return pid && count && std::strtol(pid, nullptr, 10) == getpid() && std::strtol(count, nullptr, 10) >= 1;
}

Error cannot_listen(const std::string& address) {
  return Error(Failure::bad_config,
               fmt::format("NIXERY_LISTEN: cannot listen on {}: {}", address, std::strerror(errno)));
}

// 0 where somebody listens, else errno.
int knock(const sockaddr* name, socklen_t size) {
  const os::Fd visitor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return connect(visitor.get(), name, size) == 0 ? 0 : errno;
}

os::Fd listen_on_unix(const std::string& address, const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path)
    throw Error(Failure::bad_config, fmt::format("NIXERY_LISTEN: {} is too long for a socket", path));
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const auto* generic = reinterpret_cast<const sockaddr*>(&name);

  // A socket left by a worker that died refuses; one that answers is in use, unless only a child still holds it that a
  // worker has forked before it was killed, and that is about to execute another program.
  int answer = knock(generic, sizeof name);
  for (int probe = 1; answer == 0 && probe < probes; ++probe) {
    std::this_thread::sleep_for(between_probes);
    answer = knock(generic, sizeof name);
  }
  if (answer == 0) throw Error(Failure::bad_config, fmt::format("NIXERY_LISTEN: another worker listens on {}", path));
  if (answer == ECONNREFUSED) unlink(path.c_str());

  os::make_directories(std::filesystem::path(path).parent_path());
  os::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // The web server runs as another user; who may enter the directory may ask (SECURITY.md).
  if (!fd || bind(fd.get(), generic, sizeof name) != 0 || chmod(path.c_str(), 0666) != 0 ||
      listen(fd.get(), backlog) != 0)
    throw cannot_listen(address);
  return fd;
}

os::Fd listen_on_tcp(const std::string& address) {
  const auto colon = address.rfind(':');
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (const int code =
          getaddrinfo(host.empty() ? nullptr : host.c_str(), address.substr(colon + 1).c_str(), &hints, &found))
    throw Error(Failure::bad_config, fmt::format("NIXERY_LISTEN: {}: {}", address, gai_strerror(code)));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  os::Fd fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  if (!fd || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0 || listen(fd.get(), backlog) != 0)
    throw cannot_listen(address);
  return fd;
}

// A web server that is still sending would lose the answer if we closed on it: until it closes, for a second at most.
void linger(int fd) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::seconds(1);
  if (shutdown(fd, SHUT_WR) != 0) return;
  char discarded[1024];
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd readable{fd, POLLIN, 0};
    if (left <= 0 || poll(&readable, 1, static_cast<int>(left)) <= 0) return;
    if (recv(fd, discarded, sizeof discarded, MSG_DONTWAIT) <= 0) return;
  }
}

}  // namespace

void Exchange::Finish::operator()(FCGX_Request* raw) const {
  if (raw->in) {
    FCGX_FClose(raw->err);
    FCGX_FClose(raw->out);  // with it the request's end is told
    if (!hastily) linger(raw->ipcFd);
  }
  raw->detached = 1;  // libfcgi would linger as long as somebody goes on sending
  FCGX_Free(raw, 1);  // also where the web server wants to keep the connection: its next request is not ours to await
  delete raw;
}

Exchange::Exchange(std::unique_ptr<FCGX_Request, Finish> raw, const AccessLog* access_log)
    : raw_(std::move(raw)),
      request_(read_request([this](const char* name) { return FCGX_GetParam(name, raw_->envp); })),
      access_log_(access_log) {}

Exchange::~Exchange() {
  end();
}

// Noted first: who has got the whole answer will find it counted.
void Exchange::end() {
  if (raw_ && access_log_ && stats_.status != 0) access_log_->note(request_, stats_);
  raw_.reset();
}

std::optional<Exchange> Exchange::read(os::Fd connection, const AccessLog* access_log) {
  static std::once_flag initialised;
  std::call_once(initialised, [] { FCGX_Init(); });
  std::unique_ptr<FCGX_Request, Finish> raw(new FCGX_Request);
  // All of it is there, so the first is for what libfcgi reads otherwise than we do.
  const timeval to_receive{5, 0}, to_send{30, 0};
  setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &to_receive, sizeof to_receive);
  setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &to_send, sizeof to_send);
  FCGX_InitRequest(raw.get(), -1, FCGI_FAIL_ACCEPT_ON_INTR);  // what it cannot read, it must not replace by another
  raw->ipcFd = connection.release();
  raw->keepConnection = 1;  // else it would begin with closing it
  raw->detached = 1;        // and end with lingering
  if (FCGX_Accept_r(raw.get()) < 0 || FCGX_GetError(raw->in) != 0) return std::nullopt;
  return Exchange(std::move(raw), access_log);
}

void Exchange::answer(const Response& response) {
  const std::string head = head_of(response, request_.cause.request);
  stats_.status = response.status;
  FCGX_PutStr(head.data(), static_cast<int>(head.size()), raw_->out);
  if (request_.method != "HEAD") {
    stats_.bytes = length_of(response);
    FCGX_PutStr(response.body.data(), static_cast<int>(response.body.size()), raw_->out);
    if (response.file)
      response.file->read([this](std::string_view bytes) {
        return FCGX_PutStr(bytes.data(), static_cast<int>(bytes.size()), raw_->out) >= 0;
      });
  }
  end();
}

bool Exchange::begin(const Response& head) {
  // Whatever readiness() may have missed, nobody waits long for one client.
  const timeval send_timeout{1, 0};
  setsockopt(raw_->ipcFd, SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof send_timeout);
  raw_.get_deleter().hastily = true;  // by the end, the web server has long sent all that it had to
  stats_.status = head.status;
  return put(head_of(head, request_.cause.request));
}

bool Exchange::send(std::string_view text) {
  stats_.bytes += text.size();
  return put(text);
}

bool Exchange::put(std::string_view text) {
  return FCGX_PutStr(text.data(), static_cast<int>(text.size()), raw_->out) >= 0 && FCGX_FFlush(raw_->out) == 0;
}

Exchange::Readiness Exchange::readiness() const {
  pollfd socket{raw_->ipcFd, POLLOUT | POLLRDHUP, 0};
  if (poll(&socket, 1, 0) < 0) return Readiness::busy;
  if (socket.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) return Readiness::gone;
  return socket.revents & POLLOUT ? Readiness::ready : Readiness::busy;
}

void Exchange::hang_up() {
  shutdown(raw_->ipcFd, SHUT_RDWR);
  raw_.get_deleter().hastily = true;
  end();
}

Listener find_listener(const std::string& address) {
  // What is handed over must be ours alone, so that nobody listens any more once we have closed it.
  if (is_handed_over_by_systemd()) {
    fcntl(systemd_first, F_SETFD, FD_CLOEXEC);
    return {os::Fd(systemd_first), false, "systemd", {}};
  }
  if (is_listening(STDIN_FILENO)) {
    os::Fd fd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, systemd_first));
    const os::Fd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
    dup2(nothing.get(), STDIN_FILENO);
    return {std::move(fd), false, "the descriptor handed over as standard input", {}};
  }
  if (std::getenv("GATEWAY_INTERFACE")) return {os::Fd(), true, "CGI", {}};
  constexpr std::string_view unix_prefix = "unix:";
  if (address.starts_with(unix_prefix)) {
    std::string path = address.substr(unix_prefix.size());
    os::Fd fd = listen_on_unix(address, path);
    return {std::move(fd), false, address, std::move(path)};
  }
  return {listen_on_tcp(address), false, address, {}};
}

void limit_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= select_limit) return;
  limit.rlim_cur = select_limit;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace nixery::http
