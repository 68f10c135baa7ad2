// The tree as plain values: files with their times, and references.
//
// Reading takes no lock; files published or removed meanwhile may be included or not. Memory: about 150 bytes for each
// blob and manifest, and 4 for each reference. Throws Error{storage} for existing files that cannot be read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/digest.h"
#include "image/media_type.h"
#include "os/file.h"
#include "tree/blob_store.h"

namespace nixery::maintenance {

using Number = std::uint32_t;  // an index into one of Inventory's vectors

struct Blob {
  image::Digest digest;
  std::uint64_t size;  // bytes
  os::Time time;       // of publishing or touching (tree/tree_lock.h)
};

struct Manifest {
  image::Digest digest;
  image::MediaType type;
  std::uint64_t size;
  os::Time time;
  bool is_touched = false;             // since it was listed
  std::vector<Number> blobs;           // config and layers that exist
  std::vector<Number> members;         // of an index, those that exist
  std::vector<image::Digest> missing;  // missing config and layers
  bool is_attached = false;      // to a subject, in the tree or not: which it names, or its tag "sha256-<hex>.sig" does
  std::vector<Number> subjects;  // those in the tree
};

struct Tag {
  std::string repository, tag;
  os::Time time;
  std::optional<Number> manifest;  // nullopt: a dangling link
};

struct Inventory {
  std::vector<Blob> blobs;          // ascending by digest
  std::vector<Manifest> manifests;  // likewise
  std::vector<Tag> tags;            // ascending by name

  std::optional<Number> blob(const image::Digest& digest) const;
  std::optional<Number> manifest(const image::Digest& digest) const;
};

// Blobs and manifests without their links; no tags.
Inventory list_files(const tree::BlobStore& store);
// Lists the manifests again with their present times; blobs keep theirs.
void list_manifests(const tree::BlobStore& store, Inventory& inventory);
// Fills in the tags.
void list_tags(const tree::BlobStore& store, Inventory& inventory);
// An unreadable manifest: a collection must stop, because it cannot know the references.
enum class Unreadable { refuse, skip };
// Fills in the tags, and the links, reading every manifest. A manifest that cannot be parsed, or is skipped, has no
// links. Throws Error{storage}.
void read_links(const tree::BlobStore& store, Inventory& inventory, Unreadable unreadable = Unreadable::refuse);

}  // namespace nixery::maintenance
