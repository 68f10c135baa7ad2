// What nix prints during a build, kept for whoever wants to know why.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <string_view>

#include "build/progress.h"
#include "nix/nix.h"
#include "os/fd.h"

namespace nixery::build {

// STATE/logs/<key>.log, of the last build only. A log that cannot be written does not fail a build. Thread-safe.
class BuildLog {
 public:
  explicit BuildLog(const std::filesystem::path& path);
  void line(std::string_view text) const;
  // Sends nix's lines to this log, each behind `prefix`, and its steps to `progress`. Log and progress must outlive
  // what it returns.
  nix::Attendance attend(Progress& progress, const std::atomic<bool>* stop, std::string prefix = {}) const;

 private:
  os::Fd fd_;
};

}  // namespace nixery::build
