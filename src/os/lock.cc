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

// flock(2) cannot be woken for a stop request or a time limit, so a lock is tried again and again.
constexpr std::chrono::milliseconds poll_interval{20};

Fd open_lock(const std::filesystem::path& path) {
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd && errno == ENOENT) {
    make_directories(path.parent_path());
    fd = Fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  }
  if (!fd) throw_errno("open lock", path);
  return fd;
}

// Whether the file that we hold is still the one of that name: else others hold another.
bool still_there(const Fd& fd, const std::filesystem::path& path) {
  struct stat held, named;
  return fstat(fd.get(), &held) == 0 && stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

}  // namespace

Lock::Lock(const std::filesystem::path& path, const std::stop_token& stop, Mode mode, std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (stop.stop_requested()) throw Error(Failure::unavailable, "the registry is shutting down: try again");
    if (auto lock = try_lock(path, mode)) {
      *this = *std::move(lock);
      return;
    }
    if (std::chrono::steady_clock::now() >= deadline)
      throw Error(Failure::unavailable,
                  fmt::format("another process has held {} for {} s: try again", path.string(), limit.count()));
    std::this_thread::sleep_for(poll_interval);
  }
}

std::optional<Lock> Lock::try_lock(const std::filesystem::path& path, Mode mode) {
  Fd fd = open_lock(path);
  while (flock(fd.get(), (mode == Mode::shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR) throw_errno("lock", path);
  }
  if (!still_there(fd, path)) return std::nullopt;
  return Lock(std::move(fd));
}

bool Lock::is_held(const std::filesystem::path& path) {
  // A shared lock, so that those who only look are not taken for holders by each other.
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd && flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

bool drop_free_lock(const std::filesystem::path& path) {
  const auto held = Lock::try_lock(path);
  return held && unlink(path.c_str()) == 0;
}

}  // namespace nixery::os
