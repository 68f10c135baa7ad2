#include "maintenance/tree_size_monitor.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <system_error>

#include "log.h"

namespace nixery::maintenance {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds lasts{5};
constexpr int lasts_times_what_it_took = 50;

// The files below `blobs` two levels deep, which is how blobs lie. What goes meanwhile is passed over. False where they
// cannot be read.
bool count(const std::filesystem::path& blobs, TreeSize& into, const std::stop_token& stop) {
  std::error_code gone;
  for (auto shard = std::filesystem::directory_iterator(blobs, gone);
       !gone && shard != std::filesystem::directory_iterator() && !stop.stop_requested(); shard.increment(gone)) {
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(shard->path().c_str()), closedir);
    if (!entries) continue;
    while (const dirent* entry = readdir(entries.get())) {
      struct stat info;
      if (entry->d_name[0] == '.' || fstatat(dirfd(entries.get()), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
          !S_ISREG(info.st_mode))
        continue;
      ++into.blobs;
      into.bytes += static_cast<std::uint64_t>(info.st_size);
    }
  }
  return !gone || gone == std::errc::no_such_file_or_directory;  // nothing was published yet
}

}  // namespace

TreeSizeMonitor::TreeSizeMonitor(tree::Layout layout, const std::filesystem::path& use_log)
    : layout_(std::move(layout)) {
  if (!use_log.empty()) {
    try {
      pulls_.emplace(use_log);
    } catch (const std::exception& error) {
      log::warning("cannot count pulls", {{"error", error.what()}});
    }
  }
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

std::optional<TreeSize> TreeSizeMonitor::latest() {
  const std::lock_guard lock(mutex_);
  if (Clock::now() >= old_at_ && !wanted_) {
    wanted_ = true;
    asked_.notify_one();
  }
  return latest_;
}

void TreeSizeMonitor::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (asked_.wait(lock, stop, [this] { return wanted_; })) {
    lock.unlock();
    const auto start = Clock::now();
    TreeSize now;
    const bool counted = count(layout_.blobs(), now, stop);
    try {
      if (pulls_) now.pulls = pulls_->look();
    } catch (const std::exception& error) {
      log::debug("cannot count pulls", {{"error", error.what()}});
    }
    now.time = std::chrono::system_clock::now();
    const auto took = Clock::now() - start;
    lock.lock();
    if (stop.stop_requested()) return;
    latest_ = counted ? std::optional(now) : std::nullopt;
    old_at_ = Clock::now() + std::max<Clock::duration>(lasts, lasts_times_what_it_took * took);
    wanted_ = false;
  }
}

}  // namespace nixery::maintenance
