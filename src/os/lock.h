// A lock between processes and hosts: a file that is held with flock(2). The kernel lets go of it when its holder dies,
// however it dies. The file itself stays until drop_free_lock() removes it.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <stop_token>

#include "os/fd.h"

namespace nixery::os {

class Lock {
 public:
  enum class Mode { exclusive, shared };

  // Waits until it is ours, for `limit` at most. Throws Error{unavailable} once stop is requested or the limit has
  // passed, and Error{storage}.
  explicit Lock(const std::filesystem::path& path, const std::stop_token& stop = {}, Mode mode = Mode::exclusive,
                std::chrono::seconds limit = std::chrono::hours(24));
  // Only if it is free now.
  static std::optional<Lock> try_lock(const std::filesystem::path& path, Mode mode = Mode::exclusive);
  // Whether somebody holds it now; makes no file.
  static bool is_held(const std::filesystem::path& path);

 private:
  explicit Lock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// Removes a lock's file unless somebody holds it; whoever waits for it takes the next file of that name. True if it
// did.
bool drop_free_lock(const std::filesystem::path& path);

}  // namespace nixery::os
