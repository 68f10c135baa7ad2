// One build under its lock, with its log, its record and its tag: what a flight does, and what `nixery build` does.
#pragma once

#include <atomic>
#include <string>

#include "build/road.h"
#include "os/fd.h"

namespace nixery::build {

namespace fs = std::filesystem;

// The key under which two references are one build: same packages, platform, encoding and tag, however spelt. 64 hex.
std::string build_key(const reference::Reference& reference);

// What nix prints, kept for whoever wants to know why: STATE/logs/<key>.log, of the last build only. A log that cannot
// be written does not fail a build.
class BuildLog {
 public:
  explicit BuildLog(const fs::path& path);
  void line(std::string_view text) const;
  // Sends nix's lines to this log and its steps to `progress`; both must outlive what it returns.
  nix::Attendance attend(Progress& progress, const std::atomic<bool>* stop) const;

 private:
  os::Fd fd_;
};

enum class ExistingTag { is_good_enough, is_replaced };

// Builds and publishes `reference`, its tag last. Other processes that build the same wait for each other.
BuiltImage build_with_tag(const Road& road, const tree::Tree& tree, const reference::Reference& reference,
                          Progress& progress, const std::atomic<bool>* stop, ExistingTag existing);

// Publishes the tag of an image, after the record by which a moving one is found again. Idempotent.
void publish_tag(const tree::Tree& tree, const reference::Reference& reference, const image::Digest& manifest,
                 std::string_view revision, bool moving);

}  // namespace nixery::build
