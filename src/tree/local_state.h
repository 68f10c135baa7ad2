// What a host keeps for itself, in NIXERY_STATE, beside the store that it may share with others: pinned package sets,
// Nix's roots, logs of builds. Path names; tests/unit/tree_test.cc pins them.
//
//   logs/<key>.log               what Nix printed during a build
//   sources/…  attributes/…      pinned package sets; names of their attributes
//   gcroots/<key>/…              Nix's roots of an image
//   probe/build                  the root of what Nix builds to show that it can: nix/build_probe.h
#pragma once

#include <filesystem>
#include <string_view>

namespace nixery::tree {

namespace fs = std::filesystem;

struct LocalState {
  fs::path directory;

  fs::path logs() const { return directory / "logs"; }
  fs::path sources() const { return directory / "sources"; }
  fs::path attribute_names() const { return directory / "attributes"; }
  fs::path gc_roots() const { return directory / "gcroots"; }
  fs::path build_probe() const { return directory / "probe/build"; }
  // Both throw Error{storage} if the key leads out of its directory (os/path.h).
  fs::path log(std::string_view key) const;
  fs::path gc_roots(std::string_view key) const;  // of an image
};

}  // namespace nixery::tree
