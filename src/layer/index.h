// Where layers and segments are that were made before.
//
// A cache over the blobs and their recipes: it is written after those are, without waiting for the disk; a record that
// is torn or stale, that fails its checksum (tree/record_checksum.h) or names a blob that is gone counts as absent, and
// rebuild_index() makes it again.
//
// All functions may be called from any thread and process at once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layer/recipe.h"
#include "store/closure.h"

namespace nixery::layer {

// What a layer holds: entries that are given here (the root file system), then store paths. In this order.
struct Contents {
  EntryList entries;
  std::vector<const store::PathInfo*> paths;
};

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

// Only where the blob is there, as long as it should be, and with its recipe: else, make it anew.
std::optional<KnownLayer> find_layer(const tree::BlobStore& store, std::string_view layer_key);
std::optional<KnownSegment> find_segment(const tree::BlobStore& store, Encoding encoding, const store::PathInfo& path);

// A record as it lies there, for verification.
enum class RecordState {
  sound,
  stale,    // it leads to a blob that is not there
  torn,     // as a power cut leaves it
  damaged,  // it fails its checksum or, without one, contradicts the recipe
};
RecordState state_of_layer_record(const tree::BlobStore& store, std::string_view layer_key);
RecordState state_of_segment_record(const tree::BlobStore& store, std::string_view segment_key);

// Writes the recipe, then the segments, then the layer. Segments that are known already are left as they are, unless
// `replace`: for a layer whose known segments turned out wrong.
void remember(const tree::BlobStore& store, const Recipe& recipe, bool replace = false);

// Drops what lets a layer be used again whose contents were found to be wrong. Its blob stays, for the images that have
// it.
void forget_layer(const tree::BlobStore& store, const image::Digest& blob);

// Likewise of all layers that have this segment, into however many it was copied.
void forget_layers_with(const tree::BlobStore& store, Encoding encoding, const Segment& wrong);

// Drops an index entry that was found to be wrong.
void forget_segment(const tree::BlobStore& store, Encoding encoding, const store::PathInfo& path);

// Makes what groups/ and segments/ lack from the recipes whose blobs are there. Returns for how many layers it did so.
std::size_t rebuild_index(const tree::BlobStore& store);

}  // namespace nixery::layer
