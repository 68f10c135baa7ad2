// Pulls since this began, as the web server's log of them tells (nginx/nixery-use.conf; last_use.h has its format).
// What stood in it before does not count. A log that is rotated is read to its end, as long as it is still called
// <log>.1. One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace nixery::maintenance {

class PullCount {
 public:
  // `log` may not be there yet.
  explicit PullCount(std::filesystem::path log);

  // With what was added since the last look; lines of another shape are passed over. Throws Error{storage} where the
  // log is there and cannot be read: nothing was counted then that will not be counted later.
  std::uint64_t look();

 private:
  void take_lines(const std::filesystem::path& file);

  const std::filesystem::path log_;
  std::optional<std::uint64_t> inode_;
  std::uint64_t offset_ = 0;  // bytes, up to the last whole line
  std::uint64_t count_ = 0;
};

}  // namespace nixery::maintenance
