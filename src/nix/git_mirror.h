// The files of a bare git repository that only this registry writes to. Its caller holds the mirror's lock.
#pragma once

#include <filesystem>

namespace nixery::nix {

// Removes what a git that was killed left: locks, for which later ones would wait in vain, and parts of packs and
// objects. Each fetch of a nixpkgs that is cut off leaves a part of a pack of gigabytes.
void remove_leftovers_of_git(const std::filesystem::path& mirror);

// Whether fetches have left so many packs or single objects that git becomes slow. Whoever runs git has switched its
// own housekeeping off, so that a fetch is never kept waiting by a repack of everything.
bool needs_repacking(const std::filesystem::path& mirror);

}  // namespace nixery::nix
