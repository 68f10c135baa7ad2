// Caches a value that is expensive to compute. Nobody computes it on a thread that answers requests: a job does, and a
// request gets the value that there is, or waits for the job as others wait for builds.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "jobs/job_queue.h"

namespace nixery::jobs {

struct CacheLimits {
  std::chrono::milliseconds min_age{0};    // for which it is served, if nothing is known to have changed
  std::chrono::milliseconds cheap{20};     // what is computed within this need not be served longer
  int factor = 50, factor_if_changed = 4;  // otherwise it is served for so many times what it took
};

// Thread-safe, if its functions are.
template <typename Value>
class CachedValue {
 public:
  using Compute = std::function<Value()>;
  // A number that goes up whenever the sources are known to have changed; they may change unknown, too.
  using Changes = std::function<std::uint64_t()>;
  CachedValue(Compute compute, Changes changes, CacheLimits limits = {})
      : compute_(std::move(compute)), changes_(std::move(changes)), limits_(limits) {}

  struct Result {
    std::shared_ptr<const Value> value;  // the last one; null if there is none yet
    std::shared_ptr<AnyJob> job;         // computes a new one, for which this caller should wait; null: `value` will do
  };
  // If the value is stale, the first caller has it computed and waits for that; until then, others get the last one, or
  // wait, too, if there is none.
  Result get() {
    if (auto fresh = fresh_value()) return {std::move(fresh), nullptr};
    Submission how{};
    auto job = jobs_.submit(
        "", "value", [this](Nothing&, const std::stop_token&) { return refresh(); }, &how);
    auto value = last();
    if (value && how != Submission::started) job = nullptr;
    return {std::move(value), std::move(job)};
  }

  std::shared_ptr<const Value> last() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Nothing {};

  std::shared_ptr<const Value> fresh_value() const {
    const std::lock_guard lock(mutex_);
    return value_ && !is_stale() ? value_ : nullptr;
  }

  Nothing refresh() {
    const std::uint64_t seen = changes_();
    const auto start = Clock::now();
    auto value = std::make_shared<const Value>(compute_());
    const auto end = Clock::now();
    const std::lock_guard lock(mutex_);
    value_ = std::move(value);
    seen_ = seen;
    cost_ = end - start;
    computed_at_ = end;
    return {};
  }

  bool is_stale() const {
    const bool cheap = cost_ < limits_.cheap, changed = changes_() != seen_;
    Clock::duration lifetime = changed ? Clock::duration::zero() : Clock::duration(limits_.min_age);
    if (!cheap)
      lifetime = std::max<Clock::duration>(lifetime, cost_ * (changed ? limits_.factor_if_changed : limits_.factor));
    return Clock::now() - computed_at_ >= lifetime;
  }

  const Compute compute_;
  const Changes changes_;
  const CacheLimits limits_;
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<const Value> value_;
  std::uint64_t seen_ = 0;
  Clock::time_point computed_at_{};
  Clock::duration cost_{};
  JobQueue<Nothing, Nothing> jobs_{{1, 1, std::chrono::seconds(0)}};  // last: its thread uses the rest
};

}  // namespace nixery::jobs
