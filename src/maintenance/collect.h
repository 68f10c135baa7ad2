// Garbage collection: removes images that were not used for long from the tree, and then the state that only they
// needed.
//
// Safe with concurrent builds and pulls, also of other hosts that share the directories: see tree/tree_lock.h. Files
// are removed from the tree in the order tags, manifests, blobs, so that a reader sees a complete image or none, and a
// kill -9 leaves at worst unreferenced files for the next collection. A client in the middle of a pull has used the
// manifest within the grace period; if one of its blobs is removed anyway, it is rebuilt from its recipe, which is
// kept.
//
// Removed from the state when unused: index entries of layers, Nix's roots of images, build logs, recipes, locks,
// package sets and their names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "maintenance/selection.h"
#include "tree/blob_store.h"
#include "tree/local_state.h"

namespace nixery::maintenance {

struct Collection {
  struct Image {
    std::vector<std::string> names;  // "shell/git:latest"; none if it is known only by its digest
    image::Digest manifest;
    os::Time last_use;
    DroppedImage::Reason reason;
  };
  std::vector<Image> images;
  std::size_t tags = 0, manifests = 0, blobs = 0, state_files = 0;
  std::uint64_t freed = 0;    // bytes of those manifests and blobs
  std::uint64_t left = 0;     // bytes of those that stay
  bool clock_jumped = false;  // since the last collection (maintenance/last_run.h): nothing was removed by age
};

enum class Mode { real, dry_run };

// Throws Error{too_busy} while another collection or verification runs, Error{bad_config} if there is no tree,
// Error{storage}. `use_log` is the web server's (maintenance/last_use.h); empty: none. A dry run changes nothing and
// reports what a real one would do now.
Collection collect(const tree::BlobStore& store, const tree::LocalState& local, const Policy& policy,
                   const std::filesystem::path& use_log, Mode mode);

}  // namespace nixery::maintenance
