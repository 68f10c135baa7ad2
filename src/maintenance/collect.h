// Collecting garbage: images that were not used for long leave the tree, then what only they needed leaves the state.
//
// Safe beside builds and pulls, also of other hosts that share the directories: tree/tree_lock.h says how. What goes
// from the tree goes in the order tags, manifests, blobs, so that a reader sees an image whole or not at all, and a
// kill -9 leaves at worst files that nothing leads to, for the next collection. A client in the middle of a pull has
// used the manifest within the grace period; should a blob of its be gone all the same, the blob's recipe is kept and
// it is built anew.
//
// From the state go, once nothing needs them: index entries of layers, nix's roots of images, build logs, recipes,
// locks, package sets and their names.
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
    std::vector<std::string> names;  // "shell/git:latest"; none for one that was known by its digest only
    image::Digest manifest;
    os::Time last_use;
    DroppedImage::Reason reason;
  };
  std::vector<Image> images;
  std::size_t tags = 0, manifests = 0, blobs = 0, state_files = 0;
  std::uint64_t freed = 0;  // bytes of those manifests and blobs
  std::uint64_t left = 0;   // bytes of those that stay
  bool clock_jumped =
      false;  // so it seems since the last collection (maintenance/last_run.h): nothing went for its age
};

enum class Mode { real, dry_run };

// Throws Error{too_busy} while another collection or verification runs, Error{bad_config} where there is no tree,
// Error{storage}. `use_log` is the web server's
// (maintenance/last_use.h); empty: none. A dry run changes nothing and tells what a real one would do now.
Collection collect(const tree::BlobStore& store, const tree::LocalState& local, const Policy& policy,
                   const std::filesystem::path& use_log, Mode mode);

}  // namespace nixery::maintenance
