// Whether this worker could build an image now: nix answers, both directories can be written, and there is room.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "jobs/job_queue.h"
#include "tree/layout.h"

namespace nixery::http {

struct ReadinessSettings {
  std::uint64_t min_free = 0;  // bytes, on each of the two file systems
};

struct Check {
  std::string name;
  std::string why;  // it is not so; empty: all is well. Names no path but those of the settings' names
};

// {"ready":false,"checks":{"nix":{"ok":true},"tree":{"ok":false,"why":"…"},…}}
std::string readiness_report(const std::vector<Check>& checks);

struct NoState {};
using CheckQueue = jobs::JobQueue<std::string, NoState>;
using CheckJob = CheckQueue::JobType;

// Looking takes a process and two small files, so it is done for all who ask within five seconds, once; a failure is
// looked at anew. It never holds a thread that serves requests. Thread-safe.
class Readiness {
 public:
  Readiness(tree::Layout layout, ReadinessSettings settings);

  // Lands with a report; or, where something is wrong, with Error{unavailable} whose detail is the report.
  std::shared_ptr<CheckJob> look();

  // From now on it is not ready, whatever is found. The report then says so.
  void drain() { draining_ = true; }
  bool draining() const { return draining_; }

 private:
  std::vector<Check> checks(const std::stop_token& stop) const;
  std::string report(const std::vector<Check>& checks);

  const tree::Layout layout_;
  const ReadinessSettings settings_;
  std::atomic<bool> draining_{false};
  std::string logged_;  // what is wrong, as the log was last told; only the one job in the air touches it
  CheckQueue jobs_;     // last: its thread uses the rest
};

}  // namespace nixery::http
