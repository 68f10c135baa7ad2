// Every path name of the two directories of a DirectoryStore, in one place; tests/unit/tree_test.cc ("the layout of
// TREE and STATE") pins them. Private to tree/: others name objects (object_name.h) and use a BlobStore.
//
// TREE, the only directory that nginx serves:
//   blobs/sha256/ab/<64 hex>                     layers and configs
//   manifests/sha256/<64 hex>/manifest.<ext>     one manifest or index; the extension is its media type
//   tags/<repository>/_tags/<tag>                relative symlink to the manifest's directory
//   referrers/sha256/<64 hex>/<64 hex>.json      descriptors of the manifests that refer to a manifest
//   referrers/sha256/<64 hex>/index.oci-index    their image index
//   incoming/…                                   files being written; never served
// STATE, which is never served:
//   locks/<name>.lock                            of tree_lock.h's and maintenance/'s names; keys.lock, of all keys
//   failures/<key>.json                          one per build key (64 hex)
//   recipes/<64 hex>.json                        how the layer blob of that digest was made
//   groups/<64 hex>                              layer key -> digest of its blob
//   segments/<2 hex>/<64 hex>                    segment key -> digest of a blob that holds it
//   images/<64 hex>                              image key -> digest of its manifest
//   originals/<2 hex>/<64 hex>                   copy of the small blob of that digest: see originals.h
//   records/<repository>/_tags/<tag>.json        what a tag was built from
//   collected                                    time of the last collection: see maintenance/last_run.h
//   uses                                         time of each manifest's last pull: see maintenance/last_use.h
//   and what is local to the host: local_state.h
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/digest.h"
#include "image/media_type.h"
#include "os/lock.h"
#include "tree/local_state.h"
#include "tree/object_name.h"

namespace nixery::tree {

struct Layout {
  fs::path tree;
  fs::path state;

  LocalState local() const { return {state}; }

  // Of any object. Throws Error{storage} if the key leads out of its kind's directory, or is none of its kind.
  fs::path path(const ObjectName& name) const;
  // The directory in which objects of this kind, or their directories, lie.
  fs::path directory(Kind kind) const;

  fs::path incoming() const { return tree / "incoming"; }
  fs::path blobs() const { return tree / "blobs/sha256"; }
  fs::path blob(const image::Digest& digest) const;
  fs::path manifest_dir(const image::Digest& digest) const;
  fs::path manifest(const image::Digest& digest, image::MediaType type) const;
  // Functions that take text throw Error{storage} if it leads out of its directory (os/path.h).
  fs::path tag(std::string_view repository, std::string_view tag) const;
  // The target of tag(), relative to the link's own directory, so that a copied tree works.
  static fs::path tag_target(std::string_view repository, const image::Digest& manifest);
  // The digest in a tag's link; nullopt for any other target.
  static std::optional<image::Digest> digest_of_tag_target(const fs::path& target);

  fs::path referrers_dir(const image::Digest& subject) const;
  fs::path referrer(const image::Digest& subject, const image::Digest& referrer) const;
  fs::path referrers_index(const image::Digest& subject) const;

  fs::path lock(std::string_view name) const;  // one of tree_lock.h's and maintenance/'s names
  std::vector<fs::path> lock_files() const;
  // The lock of a build key or any other text. Two texts share a lock with a probability of 2^-62.
  os::LockName key_lock(std::string_view key) const;
  // One of the two above.
  os::LockName lock_named(std::string_view name) const;
  fs::path failure(std::string_view key) const;
  fs::path recipe(const image::Digest& layer) const;
  fs::path group(std::string_view layer_key) const;
  fs::path segment(std::string_view segment_key) const;
  fs::path image(std::string_view image_key) const;
  fs::path original(const image::Digest& blob) const;
  fs::path records() const { return state / "records"; }
  fs::path record(std::string_view repository, std::string_view tag) const;
  fs::path uses() const { return state / "uses"; }
};

}  // namespace nixery::tree
