// What Nix prints during a build, kept to explain failures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>

#include "nix/nix.h"
#include "os/fd.h"
#include "pipeline/progress.h"

namespace nixery::pipeline {

// Of a log that is longer, the beginning and the end are kept. More is not read by people, the reason why a build
// failed is at its end, and what a hundred builds print that never stop printing still fits any disk.
inline constexpr std::size_t log_beginning = 4u << 20, log_end = 1u << 20;  // bytes

// STATE/logs/<key>.log, of the last build only. A log that cannot be written does not fail a build. Thread-safe.
class BuildLog {
 public:
  explicit BuildLog(const std::filesystem::path& path);
  ~BuildLog();  // writes the end of a log that is too long, behind a line that says what was left out
  void line(std::string_view text) const;
  // Sends nix's lines to this log, each behind `prefix`, and its steps to `progress`. Log and progress must outlive
  // what it returns.
  nix::ProcessObserver observe(Progress& progress, const std::stop_token& stop, std::string prefix = {}) const;

 private:
  void write(std::string_view text) const;
  void shorten_end() const;

  os::Fd fd_;
  mutable std::mutex mutex_;  // guards what follows
  mutable std::size_t written_ = 0;
  mutable bool is_long_ = false;        // the beginning is full
  mutable std::string end_;             // whole lines, of twice log_end at most
  mutable std::uint64_t left_out_ = 0;  // bytes
};

}  // namespace nixery::pipeline
