// The progress of a build: written by the build thread, read by pending requests. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "reference/platform.h"

namespace nixery::pipeline {

enum class Phase { queued, resolving, realising, layering, publishing, finished };

std::string_view name_of(Phase phase);  // "realising"

struct Snapshot {
  Phase phase = Phase::queued;
  std::string step;  // "building curl-8.0"; may be empty
  std::uint64_t layers_done = 0, layers_total = 0;
  std::uint64_t bytes_done = 0, bytes_total = 0;  // of tar
  std::string members;  // of an index: the members' states, in place of all the above; else empty
  std::chrono::steady_clock::duration elapsed{};

  std::string what() const;  // "compressing layers: 3 of 12, 40 of 180 MB"
  std::string text() const;  // the same with the time: ", 7 s"
};

class Progress {
 public:
  // Called after each change, on the building thread.
  using Listener = std::function<void(const Snapshot&)>;
  explicit Progress(Listener listener = {}) : listener_(std::move(listener)) {}

  void enter(Phase phase);
  void step(std::string text);
  void total(std::uint64_t layers, std::uint64_t bytes);
  void members(std::string text);
  void layering(std::uint64_t layers_done, std::uint64_t bytes_done);
  Snapshot snapshot() const;

 private:
  void changed(std::unique_lock<std::mutex> lock);

  Listener listener_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  mutable std::mutex mutex_;  // guards what follows
  Snapshot now_;
};

// Combines the progress of an index's members: "amd64: building with nix: building curl-8.0; arm64: publishing".
// Thread-safe. `whole` and `platforms` must outlive it and its listeners.
class MembersProgress {
 public:
  MembersProgress(Progress& whole, const std::vector<reference::Platform>& platforms);
  Progress::Listener listener(std::size_t member);

 private:
  Progress& whole_;
  std::vector<std::string_view> names_;
  std::mutex mutex_;  // guards texts_
  std::vector<std::string> texts_;
};

// The current step in a line of Nix's standard error ("building curl-8.0"); empty if none.
std::string step_of_nix_line(std::string_view line);

}  // namespace nixery::pipeline
