// Reads small files and publishes new ones atomically.
//
// All functions throw Error{Failure::storage} that names the path and the system's reason.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "os/fd.h"

namespace nixery::os {

namespace fs = std::filesystem;

// Throws Error{storage}: "cannot <verb> <path>: <strerror(errno)>".
[[noreturn]] void throw_errno(std::string_view verb, const fs::path& path);

Fd open_for_reading(const fs::path& path);

// Bytes of a regular file. Throws Error{storage} for any other; `name` is for messages.
std::uint64_t size_of(const Fd& file, const fs::path& name);

// Reads a whole small file; nullopt if it does not exist.
std::optional<std::string> read_if_exists(const fs::path& path);

// The same for names from outside: nullopt unless it is a regular file, not a link, of at most `max_size` bytes. Never
// blocks and never reads a device.
std::optional<std::string> read_regular_file(const fs::path& path, std::size_t max_size);
// Likewise, and nullopt too where the file is none or the disk does not give its bytes: for what can be made again.
std::optional<std::string> read_if_readable(const fs::path& path);

using Time = std::chrono::sys_time<std::chrono::nanoseconds>;

struct FileStatus {
  enum class Kind { file, directory, link, other } kind;
  std::uint64_t size;  // bytes
  Time modified;
  unsigned permissions = 0;  // 0777 at most
};

// Does not follow a symbolic link; nullopt if nothing has that name.
std::optional<FileStatus> status_of(const fs::path& path);

// Sets the modification time to now, which marks the file as in use. False if it does not exist; true for a file that
// we have no permission to touch.
bool touch(const fs::path& path);

void make_directories(const fs::path& dir);

// Writes all of `bytes`; continues after interrupted and short writes. `path` is for the message.
void write_all(int fd, std::string_view bytes, const fs::path& path);

// A file being written in `dir` under a temporary name. publish() gives it its final name; without publish(), the
// destructor removes it. `dir` must be on the file system of the target.
class PendingFile {
 public:
  explicit PendingFile(const fs::path& dir);
  PendingFile(PendingFile&& other) noexcept;
  PendingFile& operator=(PendingFile&&) = delete;
  ~PendingFile();

  int fd() const { return fd_.get(); }
  const fs::path& path() const { return path_; }
  void write(std::string_view bytes) { write_all(fd_.get(), bytes, path_); }

  // Appends the rest of another file, with the file system's own copying if it supports that. `name` is for messages.
  void append(const Fd& file, const fs::path& name);

  // fsync, rename to `target` (replacing it), fsync of the directory. Makes missing parents. If `durable` is false, it
  // only renames: for cache files whose reader recognises a torn one.
  void publish(const fs::path& target, bool durable = true);

 private:
  fs::path path_;  // empty once published
  Fd fd_;
};

// Replaces `target` by `bytes`, with a PendingFile in target's own directory.
void write_file(const fs::path& target, std::string_view bytes, bool durable = true);

// Creates or replaces a symlink atomically.
void publish_symlink(const fs::path& link, const fs::path& points_to);

}  // namespace nixery::os
