#include "http/listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "error.h"

namespace nixery::http {

namespace {

constexpr int backlog = 1024;
constexpr int systemd_first = 3;  // SD_LISTEN_FDS_START

bool is_listening(int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

// Like sd_listen_fds(3); also removes the variables for child processes.
bool is_handed_over_by_systemd() {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  const bool ours = pid && count && std::strtol(pid, nullptr, 10) == getpid() && std::strtol(count, nullptr, 10) >= 1;
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
  return ours;
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
    throw Error(Failure::bad_config,
                fmt::format("NIXERY_LISTEN: cannot listen on {}: {}", address, std::strerror(errno)));
  return fd;
}

}  // namespace

Listener find_listener(const std::string& address) {
  // No child may inherit the passed socket, so that nothing listens after it is closed.
  if (is_handed_over_by_systemd()) {
    fcntl(systemd_first, F_SETFD, FD_CLOEXEC);
    return {os::Fd(systemd_first), false, "systemd", true};
  }
  if (is_listening(STDIN_FILENO)) {
    os::Fd fd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, systemd_first));
    const os::Fd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
    dup2(nothing.get(), STDIN_FILENO);
    return {std::move(fd), false, "the descriptor handed over as standard input", true};
  }
  if (std::getenv("GATEWAY_INTERFACE")) return {os::Fd(), true, "CGI"};
  constexpr std::string_view unix_prefix = "unix:";
  if (!address.starts_with(unix_prefix)) return {listen_on_tcp(address), false, address};
  try {
    // The web server runs as another user; access is limited by the directory (SECURITY.md).
    auto own = os::UnixListener::make(address.substr(unix_prefix.size()), 0666, backlog);
    return {std::move(own.fd), false, address, false, std::move(own.name)};
  } catch (const Error& error) {
    throw Error(error.failure(), fmt::format("NIXERY_LISTEN: {}", error.what()));
  }
}

}  // namespace nixery::http
