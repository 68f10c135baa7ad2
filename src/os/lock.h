// A lock between processes and hosts, on a file or on one byte of a file. The kernel releases it when its holder dies,
// however it dies. Locking writes nothing; the file is made when it is missing, and stays.
//
// A file's lock is flock(2)'s. A byte's is an open file description lock (fcntl(2), F_OFD_SETLK): one file then serves
// any number of keys, and no file has to be removed while another process may be about to lock it.
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

  // Waits until it is ours, for `limit` at most. Throws Error{unavailable} once stop is requested or the limit has
  // passed, and Error{storage}.
  explicit Lock(const LockName& name, const std::stop_token& stop = {}, Mode mode = Mode::exclusive,
                std::chrono::seconds limit = std::chrono::hours(24));
  // Only if it is free now. Throws Error{storage}.
  static std::optional<Lock> try_lock(const LockName& name, Mode mode = Mode::exclusive);
  // Whether another holds it exclusively now; makes no file.
  static bool is_held(const LockName& name);

 private:
  explicit Lock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// Makes the file of a lock if it is missing, and its directory: on a disk that is full, only what is there already can
// be locked. Returns why it cannot.
std::error_code make_lock_file(const std::filesystem::path& path);

// Removes the file of a whole-file lock unless somebody holds it; whoever waits for it takes the next file of that
// name. True if it did.
bool drop_free_lock(const std::filesystem::path& path);

}  // namespace nixery::os
