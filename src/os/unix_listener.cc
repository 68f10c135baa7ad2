#include "os/unix_listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "error.h"
#include "os/file.h"

namespace nixery::os {

namespace {

constexpr int probes = 20;  // of a socket that accepts connections
constexpr std::chrono::milliseconds between_probes{100};
constexpr std::string_view temporary_suffix = ".new", lock_suffix = ".lock";

std::string with(const fs::path& path, std::string_view suffix) {
  return path.string().append(suffix);
}

Error cannot(std::string_view verb, const fs::path& path) {
  return Error(Failure::bad_config, fmt::format("cannot {} {}: {}", verb, path.string(), std::strerror(errno)));
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw Error(Failure::bad_config, fmt::format("the path of the socket is too long: {}", path));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Whether `path` still names the open file.
bool is_file_of(int fd, const std::string& path) {
  struct stat held, named;
  return fstat(fd, &held) == 0 && stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

// Throws Error{bad_config} if another process holds it.
Fd lock_name(const fs::path& path) {
  const std::string name = with(path, lock_suffix);
  for (;;) {
    Fd fd(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
    if (!fd) throw cannot("open the lock", name);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(fd.get(), F_SETLK, &lock) != 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EACCES) throw cannot("lock", name);
      struct flock holder = lock;
      const bool known = fcntl(fd.get(), F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK && holder.l_pid > 0;
      throw Error(Failure::bad_config, fmt::format("another worker listens on {}{}", path.string(),
                                                   known ? fmt::format(" (process {})", holder.l_pid) : ""));
    }
    // Its holder may have removed it between open and lock.
    if (is_file_of(fd.get(), name)) return fd;
  }
}

// Whether a process without our lock accepts connections: systemd, spawn-fcgi, another program. The socket of a worker
// that was just killed may answer for a moment, because a child inherits it until it executes its program; so it is
// probed repeatedly.
bool is_in_use(const fs::path& path) {
  const sockaddr_un address = address_of(path.string());
  for (int probe = 0; probe < probes; ++probe) {
    if (probe > 0) std::this_thread::sleep_for(between_probes);
    const Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // EAGAIN: its queue is full.
    if (connect(client.get(), generic(address), sizeof address) != 0 && errno != EAGAIN) return false;
  }
  return true;
}

// Throws unless `path` is free or a socket without a listener.
void refuse_what_is_there(const fs::path& path) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) return;
  if (!S_ISSOCK(found.st_mode))
    throw Error(Failure::bad_config, fmt::format("{} is there and is no socket", path.string()));
  if (is_in_use(path)) throw Error(Failure::bad_config, fmt::format("another worker listens on {}", path.string()));
}

// Bound to a temporary name and renamed: a connection finds the earlier socket or this one.
Fd listen_at(const fs::path& path, mode_t mode, int backlog) {
  const std::string temporary = with(path, temporary_suffix);
  const sockaddr_un address = address_of(temporary);
  unlink(temporary.c_str());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || bind(fd.get(), generic(address), sizeof address) != 0) throw cannot("make the socket", temporary);
  if (chmod(temporary.c_str(), mode) == 0 && listen(fd.get(), backlog) == 0 &&
      std::rename(temporary.c_str(), path.c_str()) == 0)
    return fd;
  const Error error = cannot("listen on", path);
  unlink(temporary.c_str());
  throw error;
}

}  // namespace

SocketName& SocketName::operator=(SocketName&& other) noexcept {
  if (this != &other) {
    remove();
    path_ = std::move(other.path_);
    lock_ = std::move(other.lock_);
  }
  return *this;
}

void SocketName::remove() {
  if (!lock_) return;
  const std::string lock = with(path_, lock_suffix);
  // If our lock file was removed, another process may have taken the name.
  if (is_file_of(lock_.get(), lock)) {
    unlink(path_.c_str());
    unlink(lock.c_str());
  }
  lock_.reset();
}

UnixListener UnixListener::make(const fs::path& path, mode_t mode, int backlog) {
  address_of(with(path, temporary_suffix));
  make_directories(path.parent_path());
  Fd lock = lock_name(path);
  try {
    refuse_what_is_there(path);
    Fd fd = listen_at(path, mode, backlog);
    return {SocketName(path, std::move(lock)), std::move(fd)};
  } catch (const Error&) {
    unlink(with(path, lock_suffix).c_str());  // still held
    throw;
  }
}

}  // namespace nixery::os
