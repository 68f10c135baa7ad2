// A lock between processes and hosts: a file that is held with flock(2). The kernel lets go of it when its holder dies,
// however it dies. The file itself stays.
#pragma once

#include <filesystem>
#include <optional>

#include "os/fd.h"

namespace nixery::os {

class Lock {
 public:
  // Waits until it is ours. Throws Error{storage}.
  explicit Lock(const std::filesystem::path& path);
  // Only if it is free now.
  static std::optional<Lock> try_lock(const std::filesystem::path& path);
  // Whether somebody holds it now; makes no file.
  static bool is_held(const std::filesystem::path& path);

 private:
  explicit Lock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace nixery::os
