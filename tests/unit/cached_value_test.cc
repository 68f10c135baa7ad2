#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

#include "http/cached_value.h"

using namespace nixery;
using namespace std::chrono_literals;

namespace {

// A list that is made when the test says so, and tells how often it was. Making takes a moment, so that a multiple of
// it is long by any clock.
struct Shop {
  std::atomic<int> begun = 0, changes = 0;
  std::atomic<bool> open = true;
  http::CachedValue<int> kept;

  explicit Shop(http::CacheLimits limits)
      : kept(
            [this] {
              const int number = ++begun;
              std::this_thread::sleep_for(1ms);
              open.wait(false);
              return number;
            },
            [this] { return static_cast<std::uint64_t>(changes.load()); }, limits) {}
  void wait_until_begun(int times) const {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (begun < times && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    REQUIRE(begun == times);
  }
  void close() { open = false; }
  void reopen() {
    open = true;
    open.notify_all();
  }
};

// As if making had taken long, or no time at all.
constexpr http::CacheLimits long_kept{0ms, 0ms, 1'000'000, 0, 50ms}, not_kept{0ms, 1h, 0, 0, 50ms};

}  // namespace

TEST_CASE("what took long to make is kept, until it has changed") {
  Shop shop(long_kept);
  CHECK(*shop.kept.get() == 1);
  CHECK(*shop.kept.get() == 1);
  ++shop.changes;
  CHECK(*shop.kept.get() == 2);
  CHECK(*shop.kept.get() == 2);
}

TEST_CASE("a change that comes quickly does not have it made for ever") {
  Shop shop({0ms, 0ms, 1'000'000, 1'000'000, 50ms});
  CHECK(*shop.kept.get() == 1);
  ++shop.changes;
  CHECK(*shop.kept.get() == 1);
}

TEST_CASE("what is made quickly is made anew, or kept for the least time unless it has changed") {
  Shop shop(not_kept);
  CHECK(*shop.kept.get() == 1);
  CHECK(*shop.kept.get() == 2);
  Shop other({1h, 1h, 0, 0, 50ms});
  CHECK(*other.kept.get() == 1);
  CHECK(*other.kept.get() == 1);
  ++other.changes;
  CHECK(*other.kept.get() == 2);
}

TEST_CASE("while one makes it, the others have the last one; nobody waits long for the first") {
  Shop shop(not_kept);
  shop.close();
  auto first = std::async(std::launch::async, [&] { return *shop.kept.get(); });
  shop.wait_until_begun(1);
  CHECK_FALSE(shop.kept.get());
  shop.reopen();
  CHECK(first.get() == 1);
  shop.close();
  auto second = std::async(std::launch::async, [&] { return *shop.kept.get(); });
  shop.wait_until_begun(2);
  CHECK(*shop.kept.get() == 1);
  CHECK(shop.begun == 2);
  shop.reopen();
  CHECK(second.get() == 2);
}

TEST_CASE("who fails to make it says so, and the next one tries") {
  bool fails = true;
  http::CachedValue<int> kept(
      [&]() -> int {
        if (std::exchange(fails, false)) throw std::runtime_error("no");
        return 7;
      },
      [] { return std::uint64_t{0}; });
  CHECK_THROWS_AS(kept.get(), std::runtime_error);
  CHECK(*kept.get() == 7);
}
