// A listening Unix socket whose name one process at a time owns.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <utility>

#include "os/fd.h"

namespace nixery::os {

// Ownership of a socket's name. "<path>.lock" is locked with fcntl(2) from before the socket is made until its name is
// removed. The kernel drops the lock when the process ends, and no child inherits it, so the lock is held exactly while
// the process serves. Not thread-safe. The lock belongs to the process: it does not exclude a second SocketName for the
// same path in the same process.
class SocketName {
 public:
  SocketName() = default;
  SocketName(SocketName&&) = default;
  SocketName& operator=(SocketName&& other) noexcept;
  ~SocketName() { remove(); }

  // Removes the name, unless another process has taken it, and releases the lock. Queued connections can still be
  // accepted.
  void remove();

 private:
  friend struct UnixListener;
  SocketName(std::filesystem::path path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::filesystem::path path_;
  Fd lock_;  // none once the name is removed
};

struct UnixListener {
  SocketName name;
  Fd fd;

  // Makes a listening socket at `path` with that mode. It is bound to a temporary name and renamed, so the socket of a
  // dead process is replaced in one step. Throws Error{bad_config} that names the path if another process listens on
  // it, if `path` is not a socket, or if the socket cannot be made.
  static UnixListener make(const std::filesystem::path& path, mode_t mode, int backlog);
};

}  // namespace nixery::os
