// Finds out by a build whether Nix can build: a Nix that responds and evaluates may still have a full store, no build
// users, no descriptors left, or a file system on which no builder can change a mode.
//
// The derivation is made by builtin:buildenv, which is part of Nix, as a directory with one link: it takes no shell and
// no binary cache, and Nix sets it up and confines it like any other (seen with 2.8 and 2.34, with the sandbox and
// without). It is one store path, the same on every host, which is built again (`--check`) where it is there: a store
// holds it once, however often it runs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

namespace nixery::nix {

namespace fs = std::filesystem;

struct ProbeSettings {
  fs::path root;                   // the garbage-collector root that is made of it, as a build's is
  bool substitute_only = false;    // then it is only evaluated and written into the store
  std::chrono::seconds limit{60};  // of each of the three processes
  std::map<std::string, std::string> environment = {};  // more of theirs
};

// Runs the probe. Empty: Nix can build. Otherwise the reason, in Nix's words if possible. nullopt if unknown, because
// all build users are busy or `stop` is requested. Throws Error{storage, unavailable}.
std::optional<std::string> probe_build(const ProbeSettings& settings, const std::stop_token& stop);

// The last result. Thread-safe.
class BuildProbe {
 public:
  using Run = std::function<std::optional<std::string>(const std::stop_token&)>;  // as probe_build()
  explicit BuildProbe(Run run) : run_(std::move(run)) {}
  explicit BuildProbe(ProbeSettings settings)
      : BuildProbe(
            [settings = std::move(settings)](const std::stop_token& stop) { return probe_build(settings, stop); }) {}
  BuildProbe(const BuildProbe&) = delete;

  // Why Nix cannot build, by a probe that began no longer than `age` ago: runs a probe, or waits for the running one.
  // Empty: Nix can build, as far as is known.
  std::string trouble(std::chrono::steady_clock::duration age, const std::stop_token& stop);

  // Call it after a build failed for a reason that may also make the probe fail: the last result counts as old.
  void distrust();

  // The last result, without any waiting; nullopt before the first.
  std::optional<std::string> last() const;

 private:
  using Clock = std::chrono::steady_clock;

  const Run run_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any ended_;
  bool running_ = false;
  std::optional<std::string> trouble_;
  Clock::time_point began_{};  // the last probe that gave a result
};

}  // namespace nixery::nix
