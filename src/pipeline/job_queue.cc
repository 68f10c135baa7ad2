#include "pipeline/job_queue.h"

#include <fmt/format.h>

#include "log.h"

namespace nixery::pipeline {

namespace {

using Clock = std::chrono::steady_clock;

JobResult failed_result(const Error& error) {
  return {std::nullopt, {}, false, std::make_shared<Error>(error)};
}

// A success is in the tree now, and what may pass is worth another try; other failures, and reports, are remembered for
// a while.
bool is_remembered(const JobResult& result) {
  return result.report || (result.error && !result.error->transient());
}

}  // namespace

std::optional<JobResult> Job::result() const {
  const std::lock_guard lock(mutex_);
  return result_;
}

std::optional<JobResult> Job::wait_until(Clock::time_point deadline) const {
  std::unique_lock lock(mutex_);
  finished_.wait_until(lock, deadline, [this] { return result_.has_value(); });
  return result_;
}

void Job::on_finished(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!result_) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

void Job::run() {
  const CauseScope scope(cause_);
  JobResult result;
  try {
    result = work_(progress_);
    if (!result.error) run_hooks(result);
  } catch (const Error& error) {
    result = failed_result(error);
  } catch (const std::exception& error) {
    // Its words may name what strangers have no business with.
    log::error("job failed", {{"error", error.what()}});
    result = failed_result(Error(Failure::storage, "the registry failed at this: its log says why", error.what()));
  }
  finish(std::move(result));
}

void Job::run_hooks(const JobResult& result) {
  for (;;) {
    decltype(hooks_) hooks;
    {
      const std::lock_guard lock(mutex_);
      finishing_ = hooks_.empty();
      if (finishing_) return;
      hooks.swap(hooks_);
    }
    for (const auto& [name, run] : hooks) run(result);
  }
}

bool Job::add(CompletionHook hook) {
  const std::lock_guard lock(mutex_);
  if (finishing_) return false;
  if (hooks_taken_ < max_completion_hooks && hooks_.emplace(std::move(hook.name), std::move(hook.run)).second)
    ++hooks_taken_;
  return true;
}

void Job::finish(JobResult result) {
  std::vector<std::function<void()>> callbacks;
  progress_.enter(Phase::finished);
  {
    const std::lock_guard lock(mutex_);
    result_ = std::move(result);
    finished_at_ = Clock::now();
    callbacks.swap(callbacks_);
  }
  finished_.notify_all();
  for (const auto& callback : callbacks) callback();
}

JobQueue::JobQueue(JobLimits limits) : limits_(limits) {
  for (unsigned i = 0; i < limits_.running; ++i) workers_.emplace_back([this] { run_dispatched(); });
}

JobQueue::~JobQueue() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  // Nobody flies them any more; whoever waits on them must not wait for ever.
  while (auto entry = queue_.pop({}, false)) dispatched_.push_back(*std::move(entry));
  for (const FairQueue::Entry& entry : dispatched_)
    entry.job->finish(failed_result(Error(Failure::unavailable, "the registry is shutting down: try again")));
}

std::shared_ptr<Job> JobQueue::submit(const std::string& client, const std::string& key, Work work, Submission* how,
                                    CompletionHook hook) {
  std::shared_ptr<Job> job, displaced;
  const auto too_busy = [this] {
    return Error(Failure::too_busy,
                 fmt::format("{} images are waiting to be built: try again in a while", queue_.size()));
  };
  std::unique_lock lock(mutex_);
  forget_old(Clock::now());
  auto known = jobs_.find(key);
  if (known != jobs_.end()) {
    // Whoever is told of its end may ask again before its thread is here to forget it.
    const auto result = known->second->result();
    if ((result && !is_remembered(*result)) || (hook.run && !known->second->add(std::move(hook)))) {
      jobs_.erase(known);
      known = jobs_.end();
    }
  }
  if (known != jobs_.end()) {
    job = known->second;
    if (queue_.holds(job)) {
      queue_.push(client, job);
      dispatch();  // the last builder may be this client's
    }
    if (how) *how = job->result() ? Submission::cached : Submission::coalesced;
    return job;
  }
  if (how) *how = Submission::started;
  const bool starts_at_once = running_ < limits_.running && !(is_last_builder() && running_for_.contains(client));
  if (!starts_at_once && queue_.size() >= limits_.queued) {
    displaced = queue_.displace_for(client);
    if (!displaced) throw too_busy();
    jobs_.erase(displaced->key());
  }
  job = std::make_shared<Job>(key, std::move(work));
  jobs_.emplace(key, job);
  queue_.push(client, job);
  dispatch();
  const Error reason = too_busy();
  lock.unlock();
  if (displaced) displaced->finish(failed_result(reason));
  return job;
}

// Of several: one client that wants all of them would keep everybody else waiting until its slowest build is done.
bool JobQueue::is_last_builder() const {
  return limits_.running > 1 && running_ + 1 == limits_.running;
}

// Gives free builders to those whose turn it is; the caller holds the mutex.
void JobQueue::dispatch() {
  while (running_ < limits_.running) {
    auto entry = queue_.pop(running_for_, is_last_builder());
    if (!entry) break;
    ++running_;
    ++running_for_[entry->client];
    dispatched_.push_back(*std::move(entry));
  }
  changed_.notify_all();
}

std::shared_ptr<Job> JobQueue::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto known = jobs_.find(key);
  return known == jobs_.end() || is_old(*known->second, Clock::now()) ? nullptr : known->second;
}

bool JobQueue::is_old(const Job& job, Clock::time_point now) const {
  const std::lock_guard lock(job.mutex_);
  return job.result_ && now - job.finished_at_ >= limits_.failure_memory;
}

void JobQueue::forget_old(Clock::time_point now) {
  std::erase_if(jobs_, [&](const auto& entry) { return is_old(*entry.second, now); });
}

void JobQueue::run_dispatched() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closing_ || !dispatched_.empty(); });
    if (closing_) return;
    const auto [client, job] = std::move(dispatched_.front());
    dispatched_.pop_front();
    lock.unlock();
    job->run();
    lock.lock();
    --running_;
    if (--running_for_[client] == 0) running_for_.erase(client);
    if (const auto known = jobs_.find(job->key()); known != jobs_.end() && known->second == job)
      if (!is_remembered(*job->result())) jobs_.erase(known);
    dispatch();
  }
}

void JobQueue::wait_until_idle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && running_ == 0; });
}

std::size_t JobQueue::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}

std::size_t JobQueue::queued() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

}  // namespace nixery::pipeline
