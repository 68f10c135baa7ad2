// Moves a package set to its final directory, where it counts as pinned.
#pragma once

#include <filesystem>

namespace nixery::nix {

// Moves the directory `whole` to `pinned`, which must be on the same file system, once all of it is on disk: after a
// power cut, a set that is there is whole. Throws Error{storage}.
void pin(const std::filesystem::path& whole, const std::filesystem::path& pinned);

}  // namespace nixery::nix
