// How large the tree is, and how much was pulled, for those who watch: counted in the background, and only while
// somebody asks.
//
// Counting lists the blobs, which takes a second or so for a million blobs on a local disk. It is done anew where the
// last count is older than five seconds and than fifty times what it took: so it takes 2 % of one core and of the disk
// at most. Thread-safe.
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
  std::optional<std::uint64_t> pulls;  // nullopt: there is no log of them, or it cannot be read
  std::chrono::system_clock::time_point time;
};

class TreeSizeMonitor {
 public:
  // `use_log` may be empty. Begins to count. `store` must outlive it.
  TreeSizeMonitor(const tree::BlobStore& store, const std::filesystem::path& use_log);

  // What was counted last, at once; nullopt until it was for the first time. Has it counted anew where it is old.
  std::optional<TreeSize> latest();

 private:
  void run(const std::stop_token& stop);

  const tree::BlobStore& store_;
  std::optional<PullCount> pulls_;  // the thread's
  std::mutex mutex_;                // guards what follows, but for the thread
  std::condition_variable_any asked_;
  bool wanted_ = true;
  std::optional<TreeSize> latest_;
  std::chrono::steady_clock::time_point old_at_{};
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace nixery::maintenance
