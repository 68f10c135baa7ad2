// How each layer blob was made, and where each store path's segment lies: STATE/recipes, groups and segments.
//
// All of it is a cache over the blobs: it is written after the blob is published, without waiting for the disk, and
// whatever is torn, stale or names a blob that is gone is passed over as if it were not there. Recipes are the truth
// that groups and segments can be made from again.
//
// All functions may be called from any thread and process at once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "image/digest.h"
#include "layer/encoding.h"
#include "layer/tar.h"
#include "store/closure.h"
#include "tree/layout.h"

namespace nixery::layer {

// What a layer holds: entries that are given here (the root file system), then store paths. In this order.
struct Contents {
  std::vector<Entry> entries;
  std::vector<const store::PathInfo*> paths;
};

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
  std::vector<Entry> entries;
  std::vector<Segment> segments;         // ascending by offset
  std::vector<std::string> failed_with;  // Encoding::library_here() of those that were found to give other bytes
};

// STATE/recipes/<blob>.json, keys in fixed order. Names in it that are no printable ASCII are %-escaped.
std::string to_json(const Recipe& recipe);
std::optional<Recipe> parse_recipe(std::string_view json, const image::Digest& blob);
std::optional<Recipe> read_recipe(const tree::Layout& layout, const image::Digest& blob);

// Whether Writer::rebuild() may bring the blob back: there is a recipe, and the library here has not failed at it.
bool can_rebuild(const tree::Layout& layout, const image::Digest& blob);
bool can_rebuild(const Recipe& recipe);

// The key under which a layer of these contents is remembered; 64 hex.
std::string layer_key(Encoding encoding, const Contents& contents);
std::string segment_key(Encoding encoding, const store::PathInfo& path);

// A layer that is in the tree.
struct KnownLayer {
  image::Digest blob;
  std::uint64_t size;
  image::Digest diff_id;
  std::uint64_t tar_size;
};
struct KnownSegment {
  image::Digest blob;
  Segment segment;
};

// Only where the blob is there and long enough.
std::optional<KnownLayer> find_layer(const tree::Layout& layout, std::string_view layer_key);
std::optional<KnownSegment> find_segment(const tree::Layout& layout, Encoding encoding, const store::PathInfo& path);

// Writes the recipe, then the segments, then the layer. Segments that are known already are left as they are, unless
// `replace`: for a layer whose known segments turned out wrong.
void remember(const tree::Layout& layout, const Recipe& recipe, bool replace = false);

// Notes in the recipe that the library here gives other bytes. Another host, or a later library, may try it again.
void remember_failure(const tree::Layout& layout, Recipe recipe);

// Drops what lets a layer be used again whose contents were found to be wrong. Its blob stays, for the images that have
// it.
void forget_layer(const tree::Layout& layout, const image::Digest& blob);

// Drops an index entry that was found to be wrong.
void forget_segment(const tree::Layout& layout, Encoding encoding, const store::PathInfo& path);

// Makes what groups/ and segments/ lack from the recipes whose blobs are there. Returns for how many layers it did so.
std::size_t rebuild_index(const tree::Layout& layout);

}  // namespace nixery::layer
