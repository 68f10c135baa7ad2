#include "jobs/cached_value.h"

#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <utility>

using namespace nixery;
using namespace std::chrono_literals;

namespace {

// A number that is computed when the test allows it, and that counts the computations. Computing takes a moment, so
// that a multiple of it is measurable.
struct Counted {
  std::atomic<int> begun = 0, changes = 0;
  std::atomic<bool> open = true;
  jobs::CachedValue<int> cache;

  explicit Counted(jobs::CacheLimits limits)
      : cache(
            [this] {
              const int number = ++begun;
              std::this_thread::sleep_for(1ms);
              open.wait(false);
              return number;
            },
            [this] { return static_cast<std::uint64_t>(changes.load()); }, limits) {}
  ~Counted() { let_go(); }
  void hold() { open = false; }
  void let_go() {
    open = true;
    open.notify_all();
  }
  // Like a request that can wait.
  int get() {
    const auto result = cache.get();
    if (!result.job) return *result.value;
    REQUIRE(result.job->wait_until(std::chrono::steady_clock::now() + 1min));
    REQUIRE_FALSE(result.job->error());
    return *cache.last();
  }
};

// As if computing had taken long, or no time.
constexpr jobs::CacheLimits expensive{0ms, 0ms, 1'000'000, 0}, cheap{0ms, 1h, 0, 0};

}  // namespace

TEST_CASE("an expensive value is cached until it has changed") {
  Counted value(expensive);
  CHECK(value.get() == 1);
  CHECK(value.get() == 1);
  ++value.changes;
  CHECK(value.get() == 2);
  CHECK(value.get() == 2);
}

TEST_CASE("frequent changes do not recompute an expensive value all the time") {
  Counted value({0ms, 0ms, 1'000'000, 1'000'000});
  CHECK(value.get() == 1);
  ++value.changes;
  CHECK(value.get() == 1);
}

TEST_CASE("a cheap value is computed for each caller, or cached for its minimum age unless it has changed") {
  Counted value(cheap);
  CHECK(value.get() == 1);
  CHECK(value.get() == 2);
  Counted other({1h, 1h, 0, 0});
  CHECK(other.get() == 1);
  CHECK(other.get() == 1);
  ++other.changes;
  CHECK(other.get() == 2);
}

TEST_CASE("while a value is computed no caller is blocked: the others get the last one, or the job if there is none") {
  Counted value(cheap);
  value.hold();
  const auto first = value.cache.get(), second = value.cache.get();
  CHECK_FALSE(first.value);
  CHECK_FALSE(second.value);
  REQUIRE(first.job);
  CHECK(second.job == first.job);
  CHECK_FALSE(first.job->finished());
  value.let_go();
  REQUIRE(first.job->wait_until(std::chrono::steady_clock::now() + 1min));
  CHECK(*value.cache.last() == 1);

  value.hold();
  const auto third = value.cache.get(), fourth = value.cache.get();
  CHECK(third.job);
  CHECK(*third.value == 1);
  CHECK_FALSE(fourth.job);
  CHECK(*fourth.value == 1);
}

TEST_CASE("a value that cannot be computed is an error of the job, and the next caller tries again") {
  std::atomic<bool> fails = true;
  jobs::CachedValue<int> cache(
      [&]() -> int {
        if (fails.exchange(false)) throw Error(Failure::storage, "no");
        return 7;
      },
      [] { return std::uint64_t{0}; });
  const auto failed = cache.get();
  REQUIRE(failed.job->wait_until(std::chrono::steady_clock::now() + 1min));
  REQUIRE(failed.job->error());
  CHECK(std::string(failed.job->error()->what()) == "no");
  const auto again = cache.get();
  REQUIRE(again.job->wait_until(std::chrono::steady_clock::now() + 1min));
  CHECK(*cache.last() == 7);
}
