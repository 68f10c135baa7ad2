// Counts pulls in the web server's log since construction (nginx/nixery-use.conf; last_use.h has its format). Earlier
// lines do not count. A rotated log is read to its end while it is called <log>.1. Not thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace nixery::maintenance {

class PullCount {
 public:
  // `log` may not exist yet.
  explicit PullCount(std::filesystem::path log);

  // Also counts the lines added since the last call; malformed lines are ignored. Throws Error{storage} if the log
  // exists and cannot be read; the next call then counts the same lines.
  std::uint64_t look();

 private:
  void take_lines(const std::filesystem::path& file);

  const std::filesystem::path log_;
  std::optional<std::uint64_t> inode_;
  std::uint64_t offset_ = 0;  // bytes, up to the last whole line
  std::uint64_t count_ = 0;
};

}  // namespace nixery::maintenance
