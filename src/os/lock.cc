#include "os/lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "os/file.h"

namespace nixery::os {

namespace {

Fd open_lock(const std::filesystem::path& path) {
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd && errno == ENOENT) {
    make_directories(path.parent_path());
    fd = Fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  }
  if (!fd) throw_errno("open lock", path);
  return fd;
}

}  // namespace

Lock::Lock(const std::filesystem::path& path) : fd_(open_lock(path)) {
  while (flock(fd_.get(), LOCK_EX) != 0)
    if (errno != EINTR) throw_errno("lock", path);
}

std::optional<Lock> Lock::try_lock(const std::filesystem::path& path) {
  Fd fd = open_lock(path);
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR) throw_errno("lock", path);
  }
  return Lock(std::move(fd));
}

bool Lock::is_held(const std::filesystem::path& path) {
  // A shared lock, so that those who only look are not taken for holders by each other.
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd && flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace nixery::os
