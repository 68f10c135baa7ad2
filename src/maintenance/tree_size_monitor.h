// Counts the tree's size and the pulls for monitoring, in the background and only on request.
//
// Counting lists the blobs, which takes a second or so for a million blobs on a local disk. It is repeated if the last
// count is older than five seconds and fifty times its duration, so it uses at most 2 % of one core and of the disk.
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "maintenance/pull_count.h"
#include "tree/blob_store.h"

namespace nixery::maintenance {

struct TreeSize {
  std::uint64_t blobs = 0, bytes = 0;
  std::optional<std::uint64_t> pulls;  // nullopt: no log, or it cannot be read
  std::chrono::system_clock::time_point time;
};

class TreeSizeMonitor {
 public:
  // `use_log` may be empty. Starts counting. `store` must outlive it.
  TreeSizeMonitor(const tree::BlobStore& store, const std::filesystem::path& use_log);

  // Returns the last count without waiting; nullopt before the first one. Starts a new count if it is old.
  std::optional<TreeSize> latest();

 private:
  void run(const std::stop_token& stop);

  const tree::BlobStore& store_;
  std::optional<PullCount> pulls_;  // used by the thread only
  std::mutex mutex_;                // guards what follows, but for the thread
  std::condition_variable_any asked_;
  bool wanted_ = true;
  std::optional<TreeSize> latest_;
  std::chrono::steady_clock::time_point old_at_{};
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace nixery::maintenance
