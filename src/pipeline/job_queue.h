// One build per key: whoever asks for an image that is being built joins the job that is in the air.
//
// A job belongs to nobody's request. It runs on a thread of ours, goes on when every client has left, and its result
// is published for whoever asks next. Between processes and hosts, a lock file per key keeps builds single.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cause.h"
#include "error.h"
#include "image/digest.h"
#include "pipeline/fair_queue.h"
#include "pipeline/progress.h"

namespace nixery::pipeline {

// How a job ended.
struct JobResult {
  std::optional<image::Digest> digest;             // of the manifest, or the blob, that is in the tree now
  std::string revision;                            // of the package set, for a manifest
  bool moving = false;                             // whether its tag may stand for another revision tomorrow
  std::shared_ptr<const Error> error;              // set where neither `digest` nor `report` is
  std::shared_ptr<const std::string> report = {};  // of a job that only looked (planner.h)
};

using Work = std::function<JobResult(Progress&)>;

// What somebody who joins a job wants of it besides: done on its thread, after it has succeeded and before it lands,
// once for each `name`. Must not throw.
struct CompletionHook {
  std::string name;
  std::function<void(const JobResult&)> run;
};
// Of one job, at most: further ones are not run.
inline constexpr std::size_t max_completion_hooks = 1000;

class Job {
 public:
  Job(std::string key, Work work) : key_(std::move(key)), work_(std::move(work)) {}

  const std::string& key() const { return key_; }
  const Progress& progress() const { return progress_; }

  // nullopt while it is in the air.
  std::optional<JobResult> result() const;
  std::optional<JobResult> wait_until(std::chrono::steady_clock::time_point deadline) const;
  // Calls `callback` once, on result, from the result thread; at once if it has landed.
  void on_finished(std::function<void()> callback);

 private:
  friend class JobQueue;
  void run();
  void run_hooks(const JobResult& result);
  // False where it is too late, as it succeeds just now.
  bool add(CompletionHook hook);
  void finish(JobResult result);

  const std::string key_;
  const Work work_;
  const Cause cause_ = current_cause();  // of whoever began it
  Progress progress_;
  mutable std::mutex mutex_;  // guards what follows
  mutable std::condition_variable finished_;
  std::optional<JobResult> result_;
  std::chrono::steady_clock::time_point finished_at_{};
  std::vector<std::function<void()>> callbacks_;
  std::map<std::string, std::function<void(const JobResult&)>> hooks_;  // by name
  std::size_t hooks_taken_ = 0;
  bool finishing_ = false;  // no hook is run any more
};

// How submit() came by its job.
enum class Submission { started, coalesced, cached };

struct JobLimits {
  unsigned running = 2;
  unsigned queued = 100;
  std::chrono::seconds failure_memory{30};  // a report is remembered as long
};

// Thread-safe.
class JobQueue {
 public:
  explicit JobQueue(JobLimits limits);
  ~JobQueue();  // waits for the jobs in the air

  // The job of that key: the one in the air, one that failed just now, or a new one that will do `work` when it is
  // the turn of `client` (client_of_address()), or of another who joins it before. Throws Error{too_busy} where the
  // queue is full; one who has far more in it than others makes room for them, and learns from the result that it was
  // too busy. `how` may be null. `hook` is for a job that was begun before, and may be empty.
  std::shared_ptr<Job> submit(const std::string& client, const std::string& key, Work work, Submission* how = nullptr,
                            CompletionHook hook = {});

  // The one of that key that is queued, in the air, or remembered; else null.
  std::shared_ptr<Job> find(const std::string& key) const;

  void wait_until_idle();
  std::size_t running() const;
  std::size_t queued() const;

 private:
  void dispatch();
  bool is_last_builder() const;
  void run_dispatched();
  bool is_old(const Job& job, std::chrono::steady_clock::time_point now) const;
  void forget_old(std::chrono::steady_clock::time_point now);

  const JobLimits limits_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::map<std::string, std::shared_ptr<Job>> jobs_;  // by key: queued, in the air, or failed just now
  FairQueue queue_;
  std::deque<FairQueue::Entry> dispatched_;  // in the air, but for a thread
  FairQueue::RunningByClient running_for_;
  std::size_t running_ = 0;  // those dispatched among them
  bool closing_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace nixery::pipeline
