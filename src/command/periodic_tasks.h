// Periodic tasks of a worker, independent of requests.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "command/registry_parts.h"
#include "pipeline/builder.h"

namespace nixery::command {

// Calls `work` on its own thread: after `first`, and then `every` after each return, until it is destroyed. Never if
// `every` is 0. An exception of `work` is logged as the event `failing`; the next run is not affected.
class PeriodicTask {
 public:
  PeriodicTask(std::chrono::seconds first, std::chrono::seconds every, std::string failing, std::function<void()> work);

 private:
  void run(const std::stop_token& stop) const;

  const std::chrono::seconds first_, every_;
  const std::string failing_;
  const std::function<void()> work_;
  mutable std::mutex mutex_;  // only for waiting
  mutable std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the rest
};

// Checks whether moving tags have moved.
PeriodicTask refreshing(pipeline::Builder& builder, std::chrono::seconds every);

// Collects garbage; workers on other hosts may do so, too. The first run is due one interval after the last collection,
// even if that was before this process started.
PeriodicTask collecting(const Config& config, const tree::BlobStore& store);

// Reads the web server's log of pulls even if this worker does not collect garbage: at once, every hour, and in the
// destructor. So collections know all pulls, even if the log is rotated or lost with a container.
class PullRecorder {
 public:
  PullRecorder(const Config& config, const tree::BlobStore& store);
  ~PullRecorder();

 private:
  void record() const;

  const Config& config_;
  const tree::BlobStore& store_;
  const PeriodicTask task_;
};

// Applies changes of the declared images without waiting for a request, and logs their problems.
class DeclarationWatcher {
 public:
  DeclarationWatcher(pipeline::Builder& builder, RegistryParts& parts);
  ~DeclarationWatcher() { stop_.request_stop(); }

 private:
  void look();
  bool ask_of_one(const pipeline::Declarations& declarations);

  pipeline::Builder& builder_;
  RegistryParts& parts_;
  std::uint64_t seen_ = 0;
  std::vector<std::string> logged_;
  std::map<std::string, bool> packages_;
  std::stop_source stop_;
  PeriodicTask task_;  // last: its thread uses the rest
};

}  // namespace nixery::command
