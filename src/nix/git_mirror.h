// The files of a bare git repository that only this registry writes to. Its caller holds the mirror's lock.
#pragma once

#include <filesystem>

namespace nixery::nix {

// Removes leftovers of a killed git: locks, which would block later processes, and partial packs and objects. An
// interrupted fetch of nixpkgs leaves a partial pack of gigabytes.
void remove_leftovers_of_git(const std::filesystem::path& mirror);

// Whether fetches have left so many packs or single objects that git becomes slow. Callers of git disable its automatic
// maintenance, so that a fetch never waits for a full repack.
bool needs_repacking(const std::filesystem::path& mirror);

}  // namespace nixery::nix
