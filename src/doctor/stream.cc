#include "doctor/stream.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "error.h"

namespace nixery::doctor {

namespace {

[[noreturn]] void give_up(const std::string& address, std::string_view why) {
  throw Error(Failure::unavailable, fmt::format("cannot connect to {}: {}", address, why));
}

}  // namespace

Stream::Stream(const std::string& address, std::chrono::seconds limit)
    : address_(address), deadline_(std::chrono::steady_clock::now() + limit) {
  int code = 0;
  const auto begin = [&](const sockaddr* where, socklen_t size) {
    fd_ = os::Fd(socket(where->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    code = fd_ && connect(fd_.get(), where, size) == 0 ? 0 : errno;
    // A Unix socket whose queue is full says EAGAIN.
    return code == 0 || code == EINPROGRESS;
  };
  constexpr std::string_view unix_prefix = "unix:";
  if (address.starts_with(unix_prefix)) {
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    const std::string path = address.substr(unix_prefix.size());
    if (path.size() >= sizeof where.sun_path) give_up(address, "the path is too long for a socket");
    std::copy(path.begin(), path.end(), where.sun_path);
    if (!begin(reinterpret_cast<const sockaddr*>(&where), sizeof where))
      give_up(address, code == EAGAIN ? "its queue is full: nobody accepts" : std::strerror(code));
  } else {
    const auto colon = address.rfind(':');
    std::string host = address.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = getaddrinfo(host.empty() || host == "*" || host == "0.0.0.0" ? "127.0.0.1" : host.c_str(),
                                   colon == address.npos ? "" : address.c_str() + colon + 1, &hints, &found);
    if (failed != 0) give_up(address, gai_strerror(failed));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> freed(found, freeaddrinfo);
    if (!begin(found->ai_addr, found->ai_addrlen)) give_up(address, std::strerror(code));
  }
  if (code == EINPROGRESS) {
    wait_for(POLLOUT);
    socklen_t size = sizeof code;
    getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &code, &size);
    if (code != 0) give_up(address, std::strerror(code));
  }
}

void Stream::wait_for(short events) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - std::chrono::steady_clock::now());
    if (left.count() <= 0) throw Error(Failure::unavailable, fmt::format("{} does not answer in time", address_));
    pollfd polled{fd_.get(), events, 0};
    if (poll(&polled, 1, static_cast<int>(left.count())) > 0) return;
  }
}

void Stream::send(std::string_view bytes) {
  while (!bytes.empty()) {
    wait_for(POLLOUT);
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0)
      bytes.remove_prefix(static_cast<std::size_t>(n));
    else if (errno != EAGAIN && errno != EINTR)
      throw Error(Failure::unavailable, fmt::format("{} hung up: {}", address_, std::strerror(errno)));
  }
}

std::string Stream::receive(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t at = 0; at < size;) {
    wait_for(POLLIN);
    const ssize_t n = recv(fd_.get(), bytes.data() + at, size - at, 0);
    if (n > 0)
      at += static_cast<std::size_t>(n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
      throw Error(Failure::unavailable, fmt::format("{} hung up without an answer", address_));
  }
  return bytes;
}

std::optional<ucred> Stream::peer() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 || credentials.pid <= 0)
    return std::nullopt;
  return credentials;
}

}  // namespace nixery::doctor
