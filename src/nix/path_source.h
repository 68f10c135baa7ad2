// A package set in a directory of the operator's. Knows only `latest`, which moves when the directory changes.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>

#include "nix/source.h"

namespace nixery::nix {

class PathSource : public Source {
 public:
  PathSource(const SourceSettings& settings, const fs::path& directory);
  Revision find(std::string_view tag) override;
  PinnedSource fetch(const Revision& revision) override;

 private:
  Revision look() const;

  fs::path location_;  // canonical
  fs::path memo_;      // the last stamp and the contents' hash that belongs to it
  std::mutex mutex_;   // guards what follows
  std::optional<Revision> seen_;
  std::chrono::steady_clock::time_point seen_at_;
};

}  // namespace nixery::nix
