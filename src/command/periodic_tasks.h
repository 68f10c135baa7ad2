// What a worker does periodically, independent of requests.
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

// Calls `work` when `first` has passed, and then each time `every` has since it returned, in a thread of its own, until
// it is destroyed; never where `every` is 0. What work throws is logged behind `failing`, and the next time comes all
// the same.
class PeriodicTask {
 public:
  PeriodicTask(std::chrono::seconds first, std::chrono::seconds every, std::string failing, std::function<void()> work);

 private:
  void run(const std::stop_token& stop) const;

  const std::chrono::seconds first_, every_;
  const std::string failing_;
  const std::function<void()> work_;
  mutable std::mutex mutex_;  // for waiting alone
  mutable std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the rest
};

// Looks whether moving tags have moved.
PeriodicTask refreshing(pipeline::Builder& builder, std::chrono::seconds every);

// Collects garbage, beside the workers that may do so on other hosts. The first time is when it is due, counted from
// what was collected before this process began.
PeriodicTask collecting(const Config& config);

// Takes the web server's log of pulls in, whether anything is collected here or not: at once, every hour, and once more
// when it is destroyed. So no collection misses what the log says, though it is rotated, or is lost with a container.
class PullRecorder {
 public:
  explicit PullRecorder(const Config& config);
  ~PullRecorder();

 private:
  void record() const;

  const Config& config_;
  const PeriodicTask task_;
};

// Applies changes of the declared images without waiting for a request, and logs what is wrong with them.
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
