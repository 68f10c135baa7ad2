// Resource usage of this process, and free disk space.
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

// Values that cannot be read are 0.
Usage own_usage();

// Returns freed memory to the system in its destructor. malloc keeps most of it otherwise: several hundred MiB after an
// image with a large root file system. Takes a few milliseconds. Does nothing if the C library has no malloc_trim().
class FreedMemoryRelease {
 public:
  FreedMemoryRelease() = default;
  FreedMemoryRelease(const FreedMemoryRelease&) = delete;
  FreedMemoryRelease& operator=(const FreedMemoryRelease&) = delete;
  ~FreedMemoryRelease();
};

struct DiskSpace {
  std::uint64_t free = 0, size = 0;  // bytes; free without the blocks reserved for root
};

// The file system that holds `path`; nullopt if it cannot be queried.
std::optional<DiskSpace> disk_space(const std::filesystem::path& path);

}  // namespace nixery::os
