// Background jobs: coalesced by key, fair between clients, bounded in number, stoppable.
//
// A job belongs to no caller. It runs on a worker thread of its queue, continues after every caller has gone, and gives
// the same result to all callers that submitted its key meanwhile. Failures that will happen again are cached for a
// while.
//
// Independent of what a job does: `Value` is its result, `State` (default-constructible, thread-safe) is what callers
// can observe while it runs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cause.h"
#include "error.h"
#include "jobs/fair_queue.h"

namespace nixery::jobs {

// Most completion hooks of one job; further ones are not run.
inline constexpr std::size_t max_completion_hooks = 1000;

// Whether submit() started (or queued) a new job, found one that was queued or running, or found a cached result.
enum class Submission { started, coalesced, cached };

struct JobLimits {
  unsigned running = 2;
  std::size_t queued = 100;
  std::chrono::seconds result_lifetime{30};  // for which a result is cached
};

// A job without its value type: for code that only waits for its end. Thread-safe.
class AnyJob {
 public:
  AnyJob(std::string key, bool caches_value) : key_(std::move(key)), caches_value_(caches_value) {}
  AnyJob(const AnyJob&) = delete;
  virtual ~AnyJob() = default;

  const std::string& key() const { return key_; }
  bool finished() const;
  // False if the job has not finished by the deadline.
  bool wait_until(std::chrono::steady_clock::time_point deadline) const;
  // Calls `callback` once, on the thread that finishes the job; immediately if it has finished.
  void on_finished(std::function<void()> callback);
  // The failure; null while it runs and after a success.
  std::shared_ptr<const Error> error() const;

 protected:
  struct Hook {
    std::string name;
    std::function<void()> run;
  };
  // False if it is too late, because the job is finishing successfully.
  bool add_hook(Hook hook);

 private:
  friend class AnyJobQueue;
  virtual void execute(const std::stop_token& stop) = 0;  // throws Error

  void run(const std::stop_token& stop);
  void run_hooks();
  void finish(std::shared_ptr<const Error> error);
  bool is_cacheable() const;
  bool is_expired(std::chrono::steady_clock::time_point now, std::chrono::seconds lifetime) const;

  const std::string key_;
  const bool caches_value_;
  const Cause cause_ = current_cause();  // of the caller that started it
  mutable std::mutex mutex_;             // guards what follows
  mutable std::condition_variable changed_;
  bool finished_ = false;
  std::shared_ptr<const Error> error_;
  std::chrono::steady_clock::time_point finished_at_{};
  std::vector<std::function<void()>> callbacks_;
  std::map<std::string, std::function<void()>> hooks_;  // by name
  std::size_t hooks_taken_ = 0;
  bool hooks_closed_ = false;
};

// The scheduler under JobQueue. Thread-safe.
class AnyJobQueue {
 public:
  explicit AnyJobQueue(JobLimits limits);
  AnyJobQueue(const AnyJobQueue&) = delete;

  // Asks running jobs to stop, for good; queued ones fail when they are reached.
  void stop() { stop_.request_stop(); }
  std::stop_token stop_token() const { return stop_.get_token(); }
  void wait_until_idle();
  std::size_t running() const;
  std::size_t queued() const;

 protected:
  ~AnyJobQueue();  // stops, and waits for the running jobs

  // `accept` takes an existing job of that key or returns that a new one is needed; `make` creates it.
  std::shared_ptr<AnyJob> submit(const std::string& client, const std::string& key,
                                 const std::function<bool(AnyJob&)>& accept,
                                 const std::function<std::shared_ptr<AnyJob>()>& make, Submission* how);
  std::shared_ptr<AnyJob> find(const std::string& key) const;

 private:
  struct Dispatched {
    std::string client;
    std::shared_ptr<AnyJob> job;
  };
  void dispatch();
  bool is_last_worker() const;
  void work();
  void forget_expired(std::chrono::steady_clock::time_point now);

  const JobLimits limits_;
  std::stop_source stop_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::map<std::string, std::shared_ptr<AnyJob>> jobs_;  // by key: queued, running, or cached
  FairQueue queue_;
  std::deque<Dispatched> dispatched_;  // counted as running, not yet taken by a worker
  ClientShares running_for_;
  std::size_t running_ = 0;
  bool closing_ = false;
  std::vector<std::thread> workers_;
};

// How a job ended: with a value or with an error.
template <typename Value>
struct JobResult {
  std::optional<Value> value;
  std::shared_ptr<const Error> error;
};

template <typename Value, typename State>
class JobQueue;

// Thread-safe.
template <typename Value, typename State>
class Job final : public AnyJob {
 public:
  using Work = std::function<Value(State&, const std::stop_token&)>;

  Job(std::string key, bool caches_value, Work work) : AnyJob(std::move(key), caches_value), work_(std::move(work)) {}

  const State& state() const { return state_; }
  // nullopt while it is queued or running.
  std::optional<JobResult<Value>> result() const {
    if (!finished()) return std::nullopt;
    auto failure = error();
    return JobResult<Value>{failure ? std::nullopt : value_, failure};
  }

 private:
  friend class JobQueue<Value, State>;
  void execute(const std::stop_token& stop) override { value_ = work_(state_, stop); }

  const Work work_;
  State state_;
  std::optional<Value> value_;  // not changed after the job has finished
};

// Thread-safe.
template <typename Value, typename State>
class JobQueue : public AnyJobQueue {
 public:
  using JobType = Job<Value, State>;
  using Work = typename JobType::Work;
  using Result = JobResult<Value>;

  // Work of a caller that runs on the job's thread after success and before the job counts as finished; once for each
  // `name`. Must not throw.
  struct CompletionHook {
    std::string name;
    std::function<void(const Value&)> run;
  };

  // `caches_values`: successes are cached, too, for the same time as failures.
  explicit JobQueue(JobLimits limits, bool caches_values = false)
      : AnyJobQueue(limits), caches_values_(caches_values) {}

  // Returns the job of that key: queued, running or cached, or a new one. The new one runs `work` when it is the turn
  // of `client` (client_of_address()) or of another client that has submitted the key meanwhile. When the queue is
  // full, the newest job of the client with the most queued jobs is evicted and fails with too_busy; throws
  // Error{too_busy} if no client has more than its share. `how` may be null. `hook` may be empty; only an existing job
  // runs it.
  std::shared_ptr<JobType> submit(const std::string& client, const std::string& key, Work work,
                                  Submission* how = nullptr, CompletionHook hook = {}) {
    const auto accept = [&](AnyJob& any) {
      if (!hook.run) return true;
      auto& job = static_cast<JobType&>(any);
      return job.add_hook({hook.name, [&job, run = hook.run] { run(*job.value_); }});
    };
    const auto make = [&] { return std::make_shared<JobType>(key, caches_values_, std::move(work)); };
    return std::static_pointer_cast<JobType>(AnyJobQueue::submit(client, key, accept, make, how));
  }

  // The queued, running or cached job of that key; null if there is none.
  std::shared_ptr<JobType> find(const std::string& key) const {
    return std::static_pointer_cast<JobType>(AnyJobQueue::find(key));
  }

 private:
  const bool caches_values_;
};

}  // namespace nixery::jobs
