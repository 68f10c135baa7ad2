#include "os/lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "error.h"
#include "os/file.h"

namespace nixery::os {

namespace {

// A blocking lock call cannot be woken by a stop request or a time limit, so the lock is polled.
constexpr std::chrono::milliseconds poll_interval{20};

// Returns an empty Fd and sets `code` on failure.
Fd open_or_make(const std::filesystem::path& path, std::error_code& code) {
  constexpr int flags = O_RDWR | O_CREAT | O_CLOEXEC;
  Fd fd(open(path.c_str(), flags, 0644));
  if (!fd && errno == ENOENT) {
    std::filesystem::create_directories(path.parent_path(), code);
    if (code) return fd;
    fd = Fd(open(path.c_str(), flags, 0644));
  }
  if (!fd) code = std::error_code(errno, std::generic_category());
  return fd;
}

Fd open_lock(const std::filesystem::path& path) {
  std::error_code code;
  Fd fd = open_or_make(path, code);
  if (fd) return fd;
  errno = code.value();
  throw_errno("open lock", path);
}

// Whether the locked file still has that name; otherwise other processes lock a different file.
bool still_there(const Fd& fd, const std::filesystem::path& path) {
  struct stat held, named;
  return fstat(fd.get(), &held) == 0 && stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

struct flock range_of(std::uint64_t byte, Lock::Mode mode) {
  struct flock range {};
  range.l_type = mode == Lock::Mode::shared ? F_RDLCK : F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(byte);
  range.l_len = 1;
  return range;
}

// False if another holder has it. Throws Error{storage}.
bool acquire(const Fd& fd, const LockName& name, Lock::Mode mode) {
  for (;;) {
    int done = 0;
    if (name.byte) {
      struct flock range = range_of(*name.byte, mode);
      done = fcntl(fd.get(), F_OFD_SETLK, &range);
    } else {
      done = flock(fd.get(), (mode == Lock::Mode::shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
    }
    if (done == 0) return true;
    if (errno == EWOULDBLOCK || errno == EACCES) return false;
    if (errno != EINTR) throw_errno("lock", name.file);
  }
}

}  // namespace

Lock::Lock(const LockName& name, const std::stop_token& stop, Mode mode, std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (stop.stop_requested()) throw Error(Failure::unavailable, "the registry is shutting down: try again");
    if (auto lock = try_lock(name, mode)) {
      *this = *std::move(lock);
      return;
    }
    if (std::chrono::steady_clock::now() >= deadline)
      throw Error(Failure::unavailable,
                  fmt::format("another process has held {} for {} s: try again", name.file.string(), limit.count()));
    std::this_thread::sleep_for(poll_interval);
  }
}

std::optional<Lock> Lock::try_lock(const LockName& name, Mode mode) {
  Fd fd = open_lock(name.file);
  if (!acquire(fd, name, mode) || !still_there(fd, name.file)) return std::nullopt;
  return Lock(std::move(fd));
}

bool Lock::is_held(const LockName& name) {
  const Fd fd(open(name.file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  // A shared lock, so that two processes that only check do not take each other for a holder.
  if (!name.byte) return flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  struct flock range = range_of(*name.byte, Mode::shared);
  return fcntl(fd.get(), F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

std::error_code make_lock_file(const std::filesystem::path& path) {
  std::error_code code;
  open_or_make(path, code);
  return code;
}

bool drop_free_lock(const std::filesystem::path& path) {
  const auto held = Lock::try_lock(path);
  return held && unlink(path.c_str()) == 0;
}

}  // namespace nixery::os
