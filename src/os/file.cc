#include "os/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "error.h"

namespace nixery::os {

namespace {

// Unique among threads, processes and hosts that share the directory: the clock distinguishes hosts, O_EXCL the rest.
std::string temporary_name() {
  static std::atomic<unsigned> counter{0};
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  return fmt::format(".tmp-{:x}-{:x}-{:x}", getpid(), now, counter++);
}

void fsync_directory(const fs::path& dir) {
  Fd fd(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || fsync(fd.get()) != 0) throw_errno("sync directory", dir);
}

// Makes the missing directories and syncs each new entry into its parent, so that a crash loses none of them.
void make_durable_directories(const fs::path& dir) {
  std::error_code unknown;
  if (dir.empty() || fs::is_directory(dir, unknown)) return;
  make_durable_directories(dir.parent_path());
  if (mkdir(dir.c_str(), 0777) != 0 && errno != EEXIST) throw_errno("create", dir);
  fsync_directory(dir.parent_path());
}

Fd create_exclusively(const fs::path& dir, fs::path& path) {
  for (;;) {
    path = dir / temporary_name();
    Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (fd) return fd;
    if (errno == ENOENT) {
      make_directories(dir);
    } else if (errno != EEXIST) {
      throw_errno("create", path);
    }
  }
}

// Reads to the end of the file, or until there are more than `max_size` bytes.
std::string read_all(const Fd& fd, const fs::path& path, std::size_t max_size = std::string::npos) {
  std::string bytes;
  char buffer[16384];
  while (bytes.size() <= max_size) {
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n == 0) break;
    if (n > 0) {
      bytes.append(buffer, static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      throw_errno("read", path);
    }
  }
  return bytes;
}

}  // namespace

void Fd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void open_standard_descriptors() {
  for (const auto& [fd, flags] : {std::pair{0, O_RDONLY}, {1, O_RDONLY}, {2, O_WRONLY}}) {
    // open() returns the lowest free number.
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", flags) != fd) std::abort();
  }
}

void throw_errno(std::string_view verb, const fs::path& path) {
  const int code = errno;
  throw Error(Failure::storage, fmt::format("cannot {} {}: {}", verb, path.string(), std::strerror(code)));
}

Fd open_for_reading(const fs::path& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw_errno("open", path);
  return fd;
}

std::uint64_t size_of(const Fd& file, const fs::path& name) {
  struct stat info;
  if (fstat(file.get(), &info) != 0) throw_errno("look at", name);
  if (!S_ISREG(info.st_mode)) throw Error(Failure::storage, fmt::format("{} is no file", name.string()));
  return static_cast<std::uint64_t>(info.st_size);
}

std::optional<std::string> read_if_exists(const fs::path& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd) return read_all(fd, path);
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  throw_errno("open", path);
}

std::optional<std::string> read_regular_file(const fs::path& path, std::size_t max_size) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat info;
  if (!fd || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) || std::cmp_greater(info.st_size, max_size))
    return std::nullopt;
  std::string bytes = read_all(fd, path, max_size);
  if (bytes.size() > max_size) return std::nullopt;
  return bytes;
}

std::optional<std::string> read_if_readable(const fs::path& path) {
  try {
    return read_if_exists(path);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<FileStatus> status_of(const fs::path& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw_errno("look at", path);
  }
  const auto kind = S_ISREG(info.st_mode)   ? FileStatus::Kind::file
                    : S_ISDIR(info.st_mode) ? FileStatus::Kind::directory
                    : S_ISLNK(info.st_mode) ? FileStatus::Kind::link
                                            : FileStatus::Kind::other;
  return FileStatus{kind, static_cast<std::uint64_t>(info.st_size),
                    Time(std::chrono::seconds(info.st_mtim.tv_sec) + std::chrono::nanoseconds(info.st_mtim.tv_nsec)),
                    info.st_mode & 0777u};
}

bool touch(const fs::path& path) {
  if (utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == 0) return true;
  return errno != ENOENT && errno != ENOTDIR;
}

void make_directories(const fs::path& dir) {
  std::error_code code;
  fs::create_directories(dir, code);
  if (code) throw Error(Failure::storage, fmt::format("cannot create {}: {}", dir.string(), code.message()));
}

void write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      throw_errno("write", path);
    }
  }
}

PendingFile::PendingFile(const fs::path& dir) : fd_(create_exclusively(dir, path_)) {}

PendingFile::PendingFile(PendingFile&& other) noexcept
    : path_(std::exchange(other.path_, {})), fd_(std::move(other.fd_)) {}

PendingFile::~PendingFile() {
  if (!path_.empty()) unlink(path_.c_str());
}

void PendingFile::append(const Fd& in, const fs::path& name) {
  for (;;) {
    const ssize_t n = copy_file_range(in.get(), nullptr, fd_.get(), nullptr, 1 << 30, 0);
    if (n == 0) return;
    if (n < 0) break;  // not supported here: copy the rest with read and write
  }
  std::string buffer(256 << 10, '\0');
  for (ssize_t n; (n = read(in.get(), buffer.data(), buffer.size())) != 0;) {
    if (n > 0) {
      write({buffer.data(), static_cast<std::size_t>(n)});
    } else if (errno != EINTR) {
      throw_errno("read", name);
    }
  }
}

void PendingFile::publish(const fs::path& target, bool durable) {
  if (durable && fsync(fd_.get()) != 0) throw_errno("sync", path_);
  if (rename(path_.c_str(), target.c_str()) != 0) {
    if (errno != ENOENT) throw_errno("publish", target);
    make_durable_directories(target.parent_path());
    if (rename(path_.c_str(), target.c_str()) != 0) throw_errno("publish", target);
  }
  path_.clear();
  fd_.reset();
  if (durable) fsync_directory(target.parent_path());
}

void write_file(const fs::path& target, std::string_view bytes, bool durable) {
  PendingFile pending(target.parent_path());
  pending.write(bytes);
  pending.publish(target, durable);
}

void publish_symlink(const fs::path& link, const fs::path& points_to) {
  make_durable_directories(link.parent_path());
  const fs::path temporary = link.parent_path() / temporary_name();
  if (symlink(points_to.c_str(), temporary.c_str()) != 0) throw_errno("create link", temporary);
  if (rename(temporary.c_str(), link.c_str()) != 0) {
    const int code = errno;
    unlink(temporary.c_str());
    errno = code;
    throw_errno("publish", link);
  }
  fsync_directory(link.parent_path());
}

}  // namespace nixery::os
