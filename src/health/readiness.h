// Whether this worker could build an image now: Nix responds and can build, both directories are writable, and there is
// free space.
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
  std::string why;  // why it is not ready; empty: ready. Contains settings' names instead of paths
};

// {"ready":false,"checks":{"nix":{"ok":true},"tree":{"ok":false,"why":"…"},…}}
std::string readiness_report(const std::vector<ReadinessCheck>& checks);

// The failed checks for the log: "nix: …; tree: …"; empty if there are none.
std::string faults_in(const std::vector<ReadinessCheck>& checks);

struct ReadinessSettings {
  std::uint64_t min_free = 0;             // bytes, on each of the two file systems
  std::chrono::seconds every{20};         // interval of the checks
  std::chrono::seconds fresh{5};          // a request for an older result starts new checks for the next request
  std::chrono::seconds check_timeout{5};  // checks that have run for longer count as failed
  std::chrono::seconds probe_every{300};  // interval of probe builds after a success
  std::chrono::seconds probe_again{10};   // and after a failure
};

// Runs checks in the background on its own threads. Thread-safe.
class Readiness {
 public:
  using Checks = std::function<std::vector<ReadinessCheck>(std::stop_token)>;

  // `store` and `probe` must outlive it.
  Readiness(const tree::BlobStore& store, nix::BuildProbe& probe, ReadinessSettings settings);
  // `checks` in place of those above, for tests.
  Readiness(Checks checks, nix::BuildProbe& probe, ReadinessSettings settings);
  ~Readiness();  // stops running Nix commands

  // The last result; never waits.
  std::vector<ReadinessCheck> latest();

  // From now on the worker is not ready.
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
  std::string logged_;  // the last logged problems; used by the checking thread
  std::mutex mutex_;    // guards what follows
  std::condition_variable_any wanted_;
  bool is_wanted_ = false, draining_ = false;
  std::vector<ReadinessCheck> found_;
  std::optional<Clock::time_point> checking_since_;
  Clock::time_point found_at_{};
  std::jthread checking_, probing_;  // last: they use the rest
};

}  // namespace nixery::health
