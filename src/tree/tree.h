// Images in a blob store: blobs, manifests, tags. Publish in this order: a reader then sees an image whole or not at
// all, and a kill -9 at any point leaves at worst objects that nothing leads to.
//
// What is published again is touched: see tree_lock.h for who has to hold the tree meanwhile.
//
// Thread-safe, and safe between processes and hosts that share the store. Throws Error{storage}.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "image/digest.h"
#include "image/media_type.h"
#include "tree/blob_store.h"

namespace nixery::tree {

struct StoredManifest {
  image::Digest digest;
  image::MediaType type;
  std::string bytes;
};

// Of any type, and without looking at its bytes.
bool has_manifest(const BlobStore& store, const image::Digest& digest);
// nullopt if it does not exist, or if its bytes do not match the digest and the type of its name.
std::optional<StoredManifest> read_manifest(const BlobStore& store, const image::Digest& digest);
// The type that the bytes of a manifest say; nullopt if they do not match the digest, or are no manifest's.
std::optional<image::MediaType> type_of_manifest(std::string_view bytes, const image::Digest& digest);
// The manifest of a tag; nullopt if it does not exist, or leads to no manifest's digest.
std::optional<image::Digest> read_tag(const BlobStore& store, const ObjectName& tag);

class Tree {
 public:
  explicit Tree(std::shared_ptr<const BlobStore> store) : store_(std::move(store)) {}
  const BlobStore& store() const { return *store_; }

  bool has_blob(const image::Digest& digest) const;
  // For small blobs, such as configs: keeps a copy in STATE (originals.h).
  image::Digest publish_blob(std::string_view bytes) const;
  // Restores a lost small blob from its copy. False if there is no valid copy.
  bool can_restore_blob(const image::Digest& digest) const;
  bool restore_blob(const image::Digest& digest) const;

  // Removes files of other types from the manifest's directory.
  image::Digest publish_manifest(std::string_view bytes, image::MediaType type) const;
  // nullopt if it does not exist, or if its bytes do not match the digest and the type of its name.
  std::optional<StoredManifest> manifest(const image::Digest& digest) const;
  // Touches a manifest that something is about to lead to. False where there is none, or its bytes are wrong.
  bool touch_manifest(const image::Digest& digest) const;
  void drop_manifest(const image::Digest& digest) const;  // of every type

  // Names must have passed the reference parser.
  void publish_tag(std::string_view repository, std::string_view tag, const image::Digest& manifest) const;
  std::optional<image::Digest> digest_of_tag(std::string_view repository, std::string_view tag) const;
  void drop_tag(std::string_view repository, std::string_view tag) const;

 private:
  void put_small_blob(const image::Digest& digest, std::string_view bytes) const;

  std::shared_ptr<const BlobStore> store_;
};

}  // namespace nixery::tree
