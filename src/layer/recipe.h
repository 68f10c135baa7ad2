// How each layer blob was made: STATE/recipes. What a blob that is gone is made from again, and the index (index.h).
//
// Written once the blob is published, without waiting for the disk. A torn one is passed over as if it were not there,
// and a layer without one is made anew by the next build that needs it.
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
  std::string path;              // "/nix/store/…"
  std::string nar_hash;          // 64 hex
  std::string library;           // that compressed it: "libdeflate 1.14"
  std::uint64_t offset = 0;      // bytes, in the blob
  std::uint64_t length = 0;      // bytes, in the blob
  std::uint64_t tar_length = 0;  // bytes of tar
  std::uint32_t crc32 = 0;       // of the bytes in the blob: proof, when they are copied, that they are the right ones
  std::optional<std::uint32_t> tar_crc32 = {};  // of the tar; none in what earlier versions wrote

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
  std::vector<std::string> failed_with;  // Encoding::library_here() of those that were found to give other bytes
  bool is_checked = true;                // false: a version before this one wrote it, without a checksum
};

std::string_view name_of(Entry::Kind kind);

// STATE/recipes/<blob>.json, keys in fixed order. Names in it that are no printable ASCII are %-escaped.
std::string to_json(const Recipe& recipe);
std::optional<Recipe> parse_recipe(std::string_view json, const image::Digest& blob);
// nullopt also for one that fails its checksum.
std::optional<Recipe> read_recipe(const tree::BlobStore& store, const image::Digest& blob);
// Whether read_recipe() has something: costs no parsing for a recipe with a checksum.
bool has_recipe(const tree::BlobStore& store, const image::Digest& blob);
void write_recipe(const tree::BlobStore& store, const Recipe& recipe);

// Whether Writer::rebuild() may bring the blob back: there is a recipe, and the library here has not failed at it.
bool can_rebuild(const tree::BlobStore& store, const image::Digest& blob);
bool can_rebuild(const Recipe& recipe);

// Notes in the recipe that the library here gives other bytes. Another host, or a later library, may try it again.
void remember_failure(const tree::BlobStore& store, Recipe recipe);

}  // namespace nixery::layer
