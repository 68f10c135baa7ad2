// A package set in a local directory. Its only tag is `latest`, which moves when the directory changes, or when it is
// another store path.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <stop_token>

#include "nix/source.h"

namespace nixery::nix {

class PathSource : public Source {
 public:
  // A scan of the directory is reused for `good_for`, so that simultaneous requests do not each stat() all of nixpkgs.
  PathSource(const SourceSettings& settings, const fs::path& directory,
             std::chrono::milliseconds good_for = std::chrono::milliseconds(500));
  std::string config_fingerprint() const override;
  Revision find(std::string_view tag, const std::stop_token& stop = {}) override;
  PinnedSource fetch(const Revision& revision, const std::stop_token& stop = {}) override;

 private:
  Revision look() const;

  const std::chrono::milliseconds good_for_;
  fs::path location_;  // canonical
  fs::path memo_;      // the last stamp and the contents' hash that belongs to it
  std::mutex mutex_;   // guards what follows
  std::optional<Revision> seen_;
  std::chrono::steady_clock::time_point seen_at_;
};

}  // namespace nixery::nix
