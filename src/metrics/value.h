// Lock-free counters and histograms that many threads update. Values read together are not a consistent snapshot.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace nixery::metrics {

// Only grows, from 0 at process start.
class Counter {
 public:
  void add(std::uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge {
 public:
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Histogram buckets in seconds: from milliseconds to the hour that a build may take.
inline constexpr std::array<double, 12> bounds = {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600};

class Histogram {
 public:
  void observe(std::chrono::nanoseconds duration) {
    const double seconds = std::chrono::duration<double>(duration).count();
    std::size_t bucket = 0;
    while (bucket < bounds.size() && seconds > bounds[bucket]) ++bucket;
    buckets_[bucket].add();
    nanoseconds_.add(static_cast<std::uint64_t>(duration.count() < 0 ? 0 : duration.count()));
  }

  struct Reading {
    std::array<std::uint64_t, bounds.size() + 1> buckets{};  // not cumulative; the last has no upper bound
    double seconds = 0;                                      // sum of all observations
  };
  Reading read() const {
    Reading reading;
    for (std::size_t i = 0; i < buckets_.size(); ++i) reading.buckets[i] = buckets_[i].value();
    reading.seconds = static_cast<double>(nanoseconds_.value()) / 1e9;
    return reading;
  }

 private:
  std::array<Counter, bounds.size() + 1> buckets_;
  Counter nanoseconds_;
};

// Observes its own lifetime, also when an exception ends it.
class Timer {
 public:
  explicit Timer(Histogram& histogram) : histogram_(histogram) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { histogram_.observe(std::chrono::steady_clock::now() - start_); }

 private:
  Histogram& histogram_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace nixery::metrics
