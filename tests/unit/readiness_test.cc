#include "health/readiness.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "logged.h"

using namespace nixery;
using health::Readiness;
using health::ReadinessCheck;

namespace {

using Result = std::optional<std::string>;

std::string faults(Readiness& readiness) {
  return health::faults_in(readiness.latest());
}

void wait_until(const std::function<bool()>& condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// Checks that run continuously, so that tests do not wait for one.
constexpr health::ReadinessSettings eager{.every = std::chrono::seconds(0),
                                          .fresh = std::chrono::seconds(0),
                                          .probe_every = std::chrono::seconds(0),
                                          .probe_again = std::chrono::seconds(0)};

}  // namespace

TEST_CASE("a worker is not ready before its checks have ended once, and requests do not wait for them") {
  std::atomic<bool> go{false};
  nix::BuildProbe probe([](const std::stop_token&) -> Result { return ""; });
  Readiness readiness(
      [&](const std::stop_token&) {
        go.wait(false);
        return std::vector<ReadinessCheck>{{"tree", ""}};
      },
      probe, eager);
  CHECK(faults(readiness) == "answer: the checks have not ended yet");
  go = true;
  go.notify_all();
  wait_until([&] { return faults(readiness).empty(); });
  CHECK(health::readiness_report(readiness.latest()) == R"({"ready":true,"checks":{"tree":{"ok":true}}})");
}

TEST_CASE("checks that have run for too long count as failed until they end") {
  std::atomic<bool> hang{false};
  nix::BuildProbe probe([](const std::stop_token&) -> Result { return ""; });
  auto settings = eager;
  settings.check_timeout = std::chrono::seconds(0);
  settings.every = std::chrono::hours(1);
  const auto release = [&] {
    hang = false;
    hang.notify_all();
  };
  Readiness readiness(
      [&](const std::stop_token& stop) {
        const std::stop_callback on_stop(stop, release);  // also if the test ended early
        hang.wait(true);
        return std::vector<ReadinessCheck>{{"tree", ""}};
      },
      probe, settings);
  wait_until([&] { return faults(readiness).empty(); });
  hang = true;  // before the run that a later request starts, or during it
  wait_until([&] { return faults(readiness).starts_with("answer: the checks have not ended after "); });
  release();
  wait_until([&] { return faults(readiness).empty(); });
}

TEST_CASE("a failing check or build probe makes a worker unready, and only changes are logged") {
  const std::string log = test::logged([] {
    std::atomic<bool> broken{false};
    nix::BuildProbe probe([&](const std::stop_token&) -> Result { return broken ? "no build users" : ""; });
    Readiness readiness(
        [&](const std::stop_token&) {
          return std::vector<ReadinessCheck>{{"nix", probe.last().value_or("")}};
        },
        probe, eager);
    wait_until([&] { return faults(readiness).empty(); });
    broken = true;
    wait_until([&] { return faults(readiness) == "nix: no build users"; });
    broken = false;
    wait_until([&] { return faults(readiness).empty(); });
    readiness.drain();
    CHECK(faults(readiness) == "draining: the worker is about to end");
  });
  const auto first = log.find("\"not ready\""), second = log.find("\"ready again\"");
  CHECK(first < second);
  CHECK(second != log.npos);
  CHECK(std::count(log.begin(), log.end(), '\n') == 2);
}
