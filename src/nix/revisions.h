// The package sets of one source on disk: <directory>/<revision>/source, of which the least recently used are removed
// when there are too many. A nixpkgs takes some 300 MB, and clients can request all commits of its branches.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string_view>

#include "nix/source.h"
#include "os/lock.h"

namespace nixery::nix {

// Thread-safe, and safe between processes that share the directory.
class Revisions {
 public:
  // `kept` is at least 1. More stay while they are in use.
  Revisions(fs::path directory, std::size_t kept) : directory_(std::move(directory)), kept_(kept) {}

  const fs::path& directory() const { return directory_; }

  // The set of `revision`, which stays while the result lives. Where it is missing, `make` has to bring it to the path
  // that it is given, all at once; nobody else makes the same one meanwhile. Throws Error{unavailable} for `stop`, and
  // what `make` throws.
  PinnedSource get(const Revision& revision, const std::stop_token& stop,
                   const std::function<void(const fs::path& pinned)>& make) const;

 private:
  void remove_oldest() const;

  const fs::path directory_;
  const std::size_t kept_;
};

// Removes a revision of a source's directory unless it is in use. False where it is, or cannot be removed. If this is
// cut off, what is left has another name: <revision>.partial.
bool remove_revision(const fs::path& directory, std::string_view revision);

}  // namespace nixery::nix
