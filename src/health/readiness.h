// Whether this worker could build an image now: Nix answers and can build, both directories can be written, and there
// is room.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "nix/build_probe.h"
#include "tree/blob_store.h"

namespace nixery::health {

struct ReadinessCheck {
  std::string name;
  std::string why;  // it is not so; empty: all is well. Names no path but by its setting
};

// {"ready":false,"checks":{"nix":{"ok":true},"tree":{"ok":false,"why":"…"},…}}
std::string readiness_report(const std::vector<ReadinessCheck>& checks);

// What is not well, for a log: "nix: …; tree: …"; empty where all is.
std::string faults_in(const std::vector<ReadinessCheck>& checks);

struct ReadinessSettings {
  std::uint64_t min_free = 0;             // bytes, on each of the two file systems
  std::chrono::seconds every{20};         // the checks run by themselves
  std::chrono::seconds fresh{5};          // who asks for an older result has them run again, for the next who asks
  std::chrono::seconds patience{5};       // checks that have run for longer count as failed
  std::chrono::seconds probe_every{300};  // a build, where the last one went well
  std::chrono::seconds probe_again{10};   // where it did not
};

// Checks in the background, on threads of its own. Thread-safe.
class Readiness {
 public:
  using Checks = std::function<std::vector<ReadinessCheck>(std::stop_token)>;

  // `store` and `probe` must outlive it.
  Readiness(const tree::BlobStore& store, nix::BuildProbe& probe, ReadinessSettings settings);
  // `checks` in place of those above, for tests.
  Readiness(Checks checks, nix::BuildProbe& probe, ReadinessSettings settings);
  ~Readiness();  // stops what Nix is asked

  // The last result; never waits.
  std::vector<ReadinessCheck> latest();

  // From now on it is not ready, whatever is found.
  void drain();

 private:
  using Clock = std::chrono::steady_clock;

  void check_again_and_again(const std::stop_token& stop);
  void probe_again_and_again(const std::stop_token& stop);
  void want();
  void log_change(const std::vector<ReadinessCheck>& checks);

  const Checks checks_;
  nix::BuildProbe& probe_;
  const ReadinessSettings settings_;
  std::string logged_;  // what was wrong, as the log has it; of the checking thread
  std::mutex mutex_;    // guards what follows
  std::condition_variable_any wanted_;
  bool is_wanted_ = false, draining_ = false;
  std::vector<ReadinessCheck> found_;
  std::optional<Clock::time_point> checking_since_;
  Clock::time_point found_at_{};
  std::jthread checking_, probing_;  // last: they use the rest
};

}  // namespace nixery::health
