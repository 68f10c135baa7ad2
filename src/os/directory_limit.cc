#include "os/directory_limit.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <tuple>
#include <vector>

#include "os/file.h"

namespace nixery::os {

namespace {

// Hosts that share a directory have clocks that differ by less than this.
constexpr std::int64_t other_clocks = 600;  // seconds

struct File {
  std::int64_t seconds, nanoseconds;  // of the last modification
  std::uint64_t bytes;
  fs::path path;
};

std::vector<File> list(const fs::path& directory) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  std::vector<File> files;
  std::error_code code;
  for (fs::directory_iterator entry(directory, code), end; !code && entry != end; entry.increment(code)) {
    struct stat status;
    if (entry->path().filename().native().starts_with('.') || lstat(entry->path().c_str(), &status) != 0 ||
        !S_ISREG(status.st_mode))
      continue;
    const timespec time = status.st_mtim;
    const bool in_future = time.tv_sec > now.tv_sec + other_clocks;
    files.push_back({in_future ? 0 : time.tv_sec, in_future ? 0 : time.tv_nsec,
                     static_cast<std::uint64_t>(status.st_size), entry->path()});
  }
  return files;
}

}  // namespace

std::size_t enforce_limit(const fs::path& directory, DirectoryLimit limit,
                          const std::function<bool(const fs::path&)>& in_use) {
  std::vector<File> files = list(directory);
  std::uint64_t bytes = 0;
  for (const File& file : files) bytes += file.bytes;
  std::size_t left = files.size(), removed = 0;
  if (left <= limit.files && bytes <= limit.bytes) return 0;
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) {
    return std::tie(a.seconds, a.nanoseconds, a.path) < std::tie(b.seconds, b.nanoseconds, b.path);
  });
  for (const File& file : files) {
    if (left <= limit.files && bytes <= limit.bytes) break;
    if ((in_use && in_use(file.path)) || unlink(file.path.c_str()) != 0) continue;
    --left;
    ++removed;
    bytes -= file.bytes;
  }
  return removed;
}

}  // namespace nixery::os
