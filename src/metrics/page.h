// Renders /metrics: counters, and values that are measured on request. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "metrics/metrics.h"

namespace nixery::metrics {

struct Disk {
  std::uint64_t free = 0, size = 0;  // bytes; free: without the blocks reserved for root
};

struct TreeCount {
  std::uint64_t blobs = 0, bytes = 0;
  std::chrono::system_clock::time_point time;  // when it was counted
};

struct Process {
  std::uint64_t resident_bytes = 0, virtual_bytes = 0, open_fds = 0, max_fds = 0, threads = 0;
  double cpu_seconds = 0;
  std::chrono::system_clock::time_point start;
};

struct Readings {
  std::string version;
  std::string listener;               // of this worker, which distinguishes several workers of one tree
  std::optional<bool> nix_can_build;  // nullopt: not tried yet
  std::uint64_t builds_queued = 0, builds_running = 0;
  std::uint64_t compressed = 0, copied = 0, written = 0, layers_reused = 0;  // layer::WriteStats of all builds
  std::optional<Disk> tree_disk, state_disk;                                 // nullopt: cannot be queried
  std::uint64_t min_free = 0;
  std::optional<TreeCount> tree;       // nullopt: not counted yet
  std::optional<std::uint64_t> pulls;  // nullopt: no log of pulls
  Process process;
};

std::string page(const Metrics& metrics, const Readings& readings);

}  // namespace nixery::metrics
