// A listening Unix socket that this process makes, at a name that one process at a time may have.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <utility>

#include "os/fd.h"

namespace nixery::os {

// The right to a socket's name. "<path>.lock" is locked with fcntl(2) from before the socket is made until its name is
// removed. The kernel drops the lock when its process ends, and no child inherits it, so it tells exactly whether the
// process still serves. One thread at a time. In one process, two for the same path are not told apart: such locks are
// the process's.
class SocketName {
 public:
  SocketName() = default;
  SocketName(SocketName&&) = default;
  SocketName& operator=(SocketName&& other) noexcept;
  ~SocketName() { remove(); }

  // Removes the name, unless another process has it by now, and lets others take it. What is queued can still be
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

  // A listening socket at `path`, of that mode. It is bound to a temporary name and renamed, so a socket that a dead
  // process left is replaced in one step. Throws Error{bad_config} that names the path: if another process listens
  // there, if something else is there, or if it cannot be made.
  static UnixListener make(const std::filesystem::path& path, mode_t mode, int backlog);
};

}  // namespace nixery::os
