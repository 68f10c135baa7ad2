#include "os/usage.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fstream>

namespace nixery::os {

namespace fs = std::filesystem;

namespace {

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

std::uint64_t entries_of(const fs::path& directory) {
  std::error_code code;
  const fs::directory_iterator entries(directory, code);
  std::uint64_t count = 0;
  for (auto entry = entries; !code && entry != fs::directory_iterator(); entry.increment(code)) ++count;
  return count;
}

}  // namespace

Usage own_usage() {
  Usage usage;
  // "size resident …", in pages: proc(5)
  if (std::ifstream file("/proc/self/statm"); file >> usage.virtual_bytes >> usage.resident_bytes) {
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    usage.virtual_bytes *= page;
    usage.resident_bytes *= page;
  }
  if (const auto open = entries_of("/proc/self/fd"); open > 0)
    usage.open_fds = open - 1;  // one of them reads this directory
  usage.threads = entries_of("/proc/self/task");
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.max_fds = limit.rlim_cur;
  rusage used{};
  if (getrusage(RUSAGE_SELF, &used) == 0) usage.cpu_seconds = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
  return usage;
}

FreedMemoryRelease::~FreedMemoryRelease() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

std::optional<DiskSpace> disk_space(const fs::path& path) {
  struct statvfs info {};
  if (statvfs(path.c_str(), &info) != 0) return std::nullopt;
  return DiskSpace{std::uint64_t{info.f_bavail} * info.f_frsize, std::uint64_t{info.f_blocks} * info.f_frsize};
}

}  // namespace nixery::os
