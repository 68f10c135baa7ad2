// What takes a while to make, kept for as long as that is worth: one of those who ask makes it anew, the others get the
// last one at once.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace nixery::http {

struct CacheLimits {
  std::chrono::milliseconds min_age{0};    // that it is kept, where nothing is known to have changed
  std::chrono::milliseconds cheap{20};     // what is made within this need not be kept longer
  int factor = 50, factor_if_changed = 4;  // what it took
  std::chrono::milliseconds first_value_timeout = std::chrono::seconds(2);  // with the first one
};

// Thread-safe, if its functions are.
template <typename Value>
class CachedValue {
 public:
  using Make = std::function<Value()>;
  // Goes up whenever what it is made of is known to have changed; it may change unknown, too.
  using Changes = std::function<std::uint64_t()>;
  CachedValue(Make make, Changes changes, CacheLimits limits = {})
      : make_(std::move(make)), changes_(std::move(changes)), limits_(limits) {}

  // Null where there is none yet, and whoever makes it has not come to an end soon. Throws what making throws.
  std::shared_ptr<const Value> get() {
    std::unique_lock lock(mutex_);
    if (making_ && !value_) made_.wait_for(lock, limits_.first_value_timeout, [this] { return !making_; });
    if (making_ || (value_ && !is_stale())) return value_;
    making_ = true;
    lock.unlock();
    try {
      const std::uint64_t seen = changes_();
      const auto start = Clock::now();
      auto value = std::make_shared<const Value>(make_());
      const auto end = Clock::now();
      lock.lock();
      value_ = std::move(value);
      seen_ = seen;
      cost_ = end - start;
      made_at_ = end;
    } catch (...) {
      if (!lock) lock.lock();
      making_ = false;
      made_.notify_all();
      throw;
    }
    making_ = false;
    made_.notify_all();
    return value_;
  }

 private:
  using Clock = std::chrono::steady_clock;

  bool is_stale() const {
    const bool cheap = cost_ < limits_.cheap, changed = changes_() != seen_;
    Clock::duration lasts = changed ? Clock::duration::zero() : Clock::duration(limits_.min_age);
    if (!cheap)
      lasts = std::max<Clock::duration>(lasts, cost_ * (changed ? limits_.factor_if_changed : limits_.factor));
    return Clock::now() - made_at_ >= lasts;
  }

  const Make make_;
  const Changes changes_;
  const CacheLimits limits_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable made_;
  std::shared_ptr<const Value> value_;
  bool making_ = false;
  std::uint64_t seen_ = 0;
  Clock::time_point made_at_{};
  Clock::duration cost_{};
};

}  // namespace nixery::http
