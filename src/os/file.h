// Files of the local file system: whole small ones, and the one way a file comes to exist under its name.
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

// The whole file, for small ones; nullopt where there is none.
std::optional<std::string> read_if_exists(const fs::path& path);

// Likewise, of a regular file that is not a link and has at most `max_size` bytes; nullopt for anything else. For names
// that come from outside: nothing that is opened blocks, and no device is read.
std::optional<std::string> read_regular_file(const fs::path& path, std::size_t max_size);
// Likewise, and nullopt too where the file is none or the disk does not give its bytes: for what can be made again.
std::optional<std::string> read_if_readable(const fs::path& path);

using Time = std::chrono::sys_time<std::chrono::nanoseconds>;

struct Status {
  enum class Kind { file, directory, link, other } kind;
  std::uint64_t size;  // bytes
  Time modified;
  unsigned permissions = 0;  // 0777 at most
};

// Of the link itself, where it is one; nullopt where there is nothing of that name.
std::optional<Status> status_of(const fs::path& path);

// Sets the time of modification to now: "somebody counts on this". False where there is no such file; a file that is
// not ours to touch counts as touched.
bool touch(const fs::path& path);

void make_directories(const fs::path& dir);

// Writes all of `bytes`, through interrupted and short writes. `path` is for the message.
void write_all(int fd, std::string_view bytes, const fs::path& path);

// A file being written in `dir`, under a temporary name. It exists under its own name only once publish() has
// returned; a PendingFile that is dropped leaves nothing. `dir` must be on the file system of the target.
class PendingFile {
 public:
  explicit PendingFile(const fs::path& dir);
  PendingFile(PendingFile&& other) noexcept;
  PendingFile& operator=(PendingFile&&) = delete;
  ~PendingFile();

  int fd() const { return fd_.get(); }
  const fs::path& path() const { return path_; }
  void write(std::string_view bytes) { write_all(fd_.get(), bytes, path_); }

  // All of another file's bytes, by the file system's own copying where it can.
  void append(const fs::path& file);

  // fsync, rename to `target` (replacing what was there), fsync of the directory. Makes missing parents. With `durable`
  // false, only renames: for what can be made again (its reader must recognise a torn one).
  void publish(const fs::path& target, bool durable = true);

 private:
  fs::path path_;  // empty once published
  Fd fd_;
};

// Replaces `target` by `bytes` as a PendingFile in target's own directory does.
void write_file(const fs::path& target, std::string_view bytes, bool durable = true);

// A symlink put in place atomically.
void publish_symlink(const fs::path& link, const fs::path& points_to);

}  // namespace nixery::os
