// A package set in a directory of the operator's. Knows only `latest`, which moves when the directory changes.
#pragma once

#include "nix/source.h"

namespace nixery::nix {

class PathSource : public Source {
 public:
  PathSource(const SourceSettings& settings, const fs::path& directory);
  Revision find(std::string_view tag) override;
  PinnedSource fetch(const Revision& revision) override;

 private:
  fs::path location_;  // canonical
  fs::path memo_;      // the last stamp and the contents' hash that belongs to it
};

}  // namespace nixery::nix
