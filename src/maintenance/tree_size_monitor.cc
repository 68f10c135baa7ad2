#include "maintenance/tree_size_monitor.h"

#include <algorithm>

#include "log.h"

namespace nixery::maintenance {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds lasts{5};
constexpr int lasts_times_what_it_took = 50;

// False if they cannot be listed.
bool count(const tree::BlobStore& store, TreeSize& into, const std::stop_token& stop) {
  try {
    store.list(tree::Kind::blob, "", [&](const tree::ObjectName&, const tree::ObjectInfo& info) {
      ++into.blobs;
      into.bytes += info.size;
      return !stop.stop_requested();
    });
    return true;
  } catch (const std::exception& error) {
    log::debug("cannot count blobs", {{"error", error.what()}});
    return false;
  }
}

}  // namespace

TreeSizeMonitor::TreeSizeMonitor(const tree::BlobStore& store, const std::filesystem::path& use_log) : store_(store) {
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
    const bool counted = count(store_, now, stop);
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
