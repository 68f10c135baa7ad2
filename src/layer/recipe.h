// Recipes of layer blobs, in STATE/recipes: a missing blob and the index (index.h) can be rebuilt from them.
//
// Written after the blob is published, without syncing. A torn recipe counts as missing, and a layer without a recipe
// is made again by the next build that needs it.
//
// All functions may be called from any thread and process at once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "image/digest.h"
#include "layer/encoding.h"
#include "layer/entry_list.h"
#include "tree/blob_store.h"

namespace nixery::layer {

// One store path within a blob.
struct Segment {
  std::string path;                             // "/nix/store/…"
  std::string nar_hash;                         // 64 hex
  std::string library;                          // that compressed it: "libdeflate 1.14"
  std::uint64_t offset = 0;                     // bytes, in the blob
  std::uint64_t length = 0;                     // bytes, in the blob
  std::uint64_t tar_length = 0;                 // bytes of tar
  std::uint32_t crc32 = 0;                      // of the bytes in the blob: checked when they are copied
  std::optional<std::uint32_t> tar_crc32 = {};  // of the tar; missing in recipes of earlier versions

  bool operator==(const Segment&) const = default;
};

struct Recipe {
  int format = format_version;
  Encoding encoding;
  image::Digest blob;
  std::uint64_t size = 0;  // bytes of the blob
  image::Digest diff_id;   // digest of the tar
  std::uint64_t tar_size = 0;
  EntryList entries;
  std::vector<Segment> segments;         // ascending by offset
  std::vector<std::string> failed_with;  // Encoding::library_here() of libraries that gave other bytes
  bool is_checked = true;                // false: a version before this one wrote it, without a checksum
};

std::string_view name_of(Entry::Kind kind);

// STATE/recipes/<blob>.json, keys in fixed order. Names that are not printable ASCII are %-escaped.
std::string to_json(const Recipe& recipe);
std::optional<Recipe> parse_recipe(std::string_view json, const image::Digest& blob);
// nullopt also for one that fails its checksum.
std::optional<Recipe> read_recipe(const tree::BlobStore& store, const image::Digest& blob);
// Whether read_recipe() has something: costs no parsing for a recipe with a checksum.
bool has_recipe(const tree::BlobStore& store, const image::Digest& blob);
void write_recipe(const tree::BlobStore& store, const Recipe& recipe);

// Whether Writer::rebuild() may restore the blob: a recipe exists, and this library has not failed at it.
bool can_rebuild(const tree::BlobStore& store, const image::Digest& blob);
bool can_rebuild(const Recipe& recipe);

// Records in the recipe that this library gives other bytes. Another host or a later library may try again.
void remember_failure(const tree::BlobStore& store, Recipe recipe);

}  // namespace nixery::layer
