// Directories whose setgid bit the directories of builds inherit. Nix's syscall filter refuses to set that bit, so
// there no builder can change a directory's mode: `chmod u+w` keeps the bit. Kubernetes puts it on volumes (fsGroup).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::nix {

namespace fs = std::filesystem;

// Where Nix builds and where it puts outputs. Without a daemon, whose temporary directory cannot be known, $TMPDIR or
// /tmp is among them.
struct BuildPlaces {
  fs::path store;      // unconfined builds make their outputs there
  fs::path builds;     // of Nix 2.30 and later, where `build-dir` is not set; may not exist
  fs::path temporary;  // of earlier ones; empty: not known
};
BuildPlaces build_places();

// The first of these that has the bit, in a Nix with these settings (`nix show-config --json`; empty: the defaults);
// empty where builders can change modes.
fs::path directory_that_forbids_modes(const BuildPlaces& places, std::string_view configuration);

}  // namespace nixery::nix
