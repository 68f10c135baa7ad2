// What this process takes of the machine, and what is left on a disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace nixery::os {

struct Usage {
  std::uint64_t resident_bytes = 0, virtual_bytes = 0;
  std::uint64_t open_fds = 0, max_fds = 0;
  std::uint64_t threads = 0;
  double cpu_seconds = 0;  // without children
};

// 0 for what cannot be read.
Usage own_usage();

// Gives the system back, when it ends, the memory that was freed until then. malloc keeps most of it for later: after
// an image with a large root file system that is several hundred MiB. Takes a few milliseconds. Does nothing where the
// C library has no malloc_trim().
class FreedMemoryRelease {
 public:
  FreedMemoryRelease() = default;
  FreedMemoryRelease(const FreedMemoryRelease&) = delete;
  FreedMemoryRelease& operator=(const FreedMemoryRelease&) = delete;
  ~FreedMemoryRelease();
};

struct DiskSpace {
  std::uint64_t free = 0, size = 0;  // bytes; free for us, who may not have what is kept for root
};

// Of the file system of `path`; nullopt where it cannot be asked.
std::optional<DiskSpace> disk_space(const std::filesystem::path& path);

}  // namespace nixery::os
