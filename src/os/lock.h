// A lock between processes and hosts, on a file or on one byte of a file. The kernel releases it when its holder dies.
// Locking writes nothing; a missing file is made, and stays.
//
// A file's lock is flock(2)'s. A byte's is an open file description lock (fcntl(2), F_OFD_SETLK): one file serves any
// number of keys and never has to be removed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <system_error>

#include "os/fd.h"

namespace nixery::os {

struct LockName {
  LockName(std::filesystem::path whole) : file(std::move(whole)) {}
  LockName(std::filesystem::path shared, std::uint64_t one_byte) : file(std::move(shared)), byte(one_byte) {}

  std::filesystem::path file;
  std::optional<std::uint64_t> byte;  // less than 2^62; nullopt: the whole file
};

class Lock {
 public:
  enum class Mode { exclusive, shared };

  // Waits for the lock for at most `limit`. Throws Error{unavailable} once stop is requested or the limit has passed,
  // and Error{storage}.
  explicit Lock(const LockName& name, const std::stop_token& stop = {}, Mode mode = Mode::exclusive,
                std::chrono::seconds limit = std::chrono::hours(24));
  // nullopt if another holder has it now. Throws Error{storage}.
  static std::optional<Lock> try_lock(const LockName& name, Mode mode = Mode::exclusive);
  // Whether another holder has it exclusively now. Makes no file.
  static bool is_held(const LockName& name);

 private:
  explicit Lock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// Makes a missing lock file and its directory in advance, because a lock on a full disk needs an existing file. Returns
// the error, if any.
std::error_code make_lock_file(const std::filesystem::path& path);

// Removes the file of a whole-file lock unless it is held. Processes that wait for it then lock the next file of that
// name. True if the file was removed.
bool drop_free_lock(const std::filesystem::path& path);

}  // namespace nixery::os
