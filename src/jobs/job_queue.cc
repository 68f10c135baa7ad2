#include "jobs/job_queue.h"

#include <fmt/format.h>

#include "log.h"

namespace nixery::jobs {

namespace {

using Clock = std::chrono::steady_clock;

std::shared_ptr<const Error> shared_error(Failure failure, std::string message, std::string detail = {}) {
  return std::make_shared<const Error>(failure, std::move(message), std::move(detail));
}

}  // namespace

bool AnyJob::finished() const {
  const std::lock_guard lock(mutex_);
  return finished_;
}

bool AnyJob::wait_until(Clock::time_point deadline) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return finished_; });
}

void AnyJob::on_finished(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!finished_) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

std::shared_ptr<const Error> AnyJob::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

void AnyJob::run(const std::stop_token& stop) {
  const CauseScope scope(cause_);
  std::shared_ptr<const Error> error;
  try {
    execute(stop);
    run_hooks();
  } catch (const Error& failure) {
    error = std::make_shared<const Error>(failure);
  } catch (const std::exception& failure) {
    // The text may contain details that clients must not see.
    log::error("job failed", {{"error", failure.what()}});
    error = shared_error(Failure::storage, "the registry failed at this: its log says why", failure.what());
  }
  finish(std::move(error));
}

void AnyJob::run_hooks() {
  for (;;) {
    decltype(hooks_) hooks;
    {
      const std::lock_guard lock(mutex_);
      hooks_closed_ = hooks_.empty();
      if (hooks_closed_) return;
      hooks.swap(hooks_);
    }
    for (const auto& [name, run] : hooks) run();
  }
}

bool AnyJob::add_hook(Hook hook) {
  const std::lock_guard lock(mutex_);
  if (hooks_closed_) return false;
  if (hooks_taken_ < max_completion_hooks && hooks_.emplace(std::move(hook.name), std::move(hook.run)).second)
    ++hooks_taken_;
  return true;
}

void AnyJob::finish(std::shared_ptr<const Error> error) {
  std::vector<std::function<void()>> callbacks;
  {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    finished_ = true;
    finished_at_ = Clock::now();
    callbacks.swap(callbacks_);
  }
  changed_.notify_all();
  for (const auto& callback : callbacks) callback();
}

// A transient failure is retried at once.
bool AnyJob::is_cacheable() const {
  const std::lock_guard lock(mutex_);
  return error_ ? !error_->transient() : caches_value_;
}

bool AnyJob::is_expired(Clock::time_point now, std::chrono::seconds lifetime) const {
  const std::lock_guard lock(mutex_);
  return finished_ && now - finished_at_ >= lifetime;
}

AnyJobQueue::AnyJobQueue(JobLimits limits) : limits_(limits) {
  for (unsigned i = 0; i < limits_.running; ++i) workers_.emplace_back([this] { work(); });
}

AnyJobQueue::~AnyJobQueue() {
  stop();
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  // The workers have ended; fail the remaining jobs so that their callers do not wait for ever.
  while (auto entry = queue_.pop({}, false)) dispatched_.push_back({entry->client, jobs_.at(entry->key)});
  for (const Dispatched& entry : dispatched_)
    entry.job->finish(shared_error(Failure::unavailable, "the registry is shutting down: try again"));
}

std::shared_ptr<AnyJob> AnyJobQueue::submit(const std::string& client, const std::string& key,
                                            const std::function<bool(AnyJob&)>& accept,
                                            const std::function<std::shared_ptr<AnyJob>()>& make, Submission* how) {
  const auto too_busy = [this] {
    return shared_error(Failure::too_busy,
                        fmt::format("{} requests are queued already: try again in a while", queue_.size()));
  };
  std::unique_lock lock(mutex_);
  forget_expired(Clock::now());
  auto known = jobs_.find(key);
  if (known != jobs_.end()) {
    // A caller that has seen the result may ask again before the worker has forgotten the job.
    const AnyJob& job = *known->second;
    if ((job.finished() && !job.is_cacheable()) || !accept(*known->second)) {
      jobs_.erase(known);
      known = jobs_.end();
    }
  }
  if (known != jobs_.end()) {
    const std::shared_ptr<AnyJob> job = known->second;
    if (queue_.holds(key)) {
      queue_.push(client, key);
      dispatch();  // the last worker may be reserved for this client
    }
    if (how) *how = job->finished() ? Submission::cached : Submission::coalesced;
    return job;
  }
  if (how) *how = Submission::started;
  const bool starts_at_once = running_ < limits_.running && !(is_last_worker() && running_for_.of(client) > 0);
  std::shared_ptr<AnyJob> evicted;
  if (!starts_at_once && queue_.size() >= limits_.queued) {
    const auto evicted_key = queue_.evict_for(client);
    if (!evicted_key) throw Error(*too_busy());
    evicted = std::move(jobs_.extract(*evicted_key).mapped());
  }
  std::shared_ptr<AnyJob> job = make();
  jobs_.emplace(key, job);
  queue_.push(client, key);
  dispatch();
  auto reason = too_busy();
  lock.unlock();
  if (evicted) evicted->finish(std::move(reason));
  return job;
}

// If one client took all workers, every other client would wait for its slowest job.
bool AnyJobQueue::is_last_worker() const {
  return limits_.running > 1 && running_ + 1 == limits_.running;
}

// Assigns free workers to the next jobs. The caller holds the mutex.
void AnyJobQueue::dispatch() {
  while (running_ < limits_.running) {
    auto entry = queue_.pop(running_for_, is_last_worker());
    if (!entry) break;
    ++running_;
    running_for_.add(entry->client);
    dispatched_.push_back({entry->client, jobs_.at(entry->key)});
  }
  changed_.notify_all();
}

std::shared_ptr<AnyJob> AnyJobQueue::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto known = jobs_.find(key);
  if (known == jobs_.end() || known->second->is_expired(Clock::now(), limits_.result_lifetime)) return nullptr;
  return known->second;
}

void AnyJobQueue::forget_expired(Clock::time_point now) {
  std::erase_if(jobs_, [&](const auto& entry) { return entry.second->is_expired(now, limits_.result_lifetime); });
}

void AnyJobQueue::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closing_ || !dispatched_.empty(); });
    if (closing_) return;
    const auto [client, job] = std::move(dispatched_.front());
    dispatched_.pop_front();
    lock.unlock();
    job->run(stop_.get_token());
    lock.lock();
    --running_;
    running_for_.remove(client);
    if (const auto known = jobs_.find(job->key()); known != jobs_.end() && known->second == job)
      if (!job->is_cacheable()) jobs_.erase(known);
    dispatch();
  }
}

void AnyJobQueue::wait_until_idle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && running_ == 0; });
}

std::size_t AnyJobQueue::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}

std::size_t AnyJobQueue::queued() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

}  // namespace nixery::jobs
