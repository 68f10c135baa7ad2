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

// The contents of a layer, in order: entries (the root file system), then store paths.
struct Contents {
  EntryList entries;
  std::vector<const store::PathInfo*> paths;
};

// The key of a layer with these contents; 64 hex.
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

// Only if the blob exists with the right size and has a recipe; otherwise it must be made again.
std::optional<KnownLayer> find_layer(const tree::BlobStore& store, std::string_view layer_key);
std::optional<KnownSegment> find_segment(const tree::BlobStore& store, Encoding encoding, const store::PathInfo& path);

// The state of a record, for verification.
enum class RecordState {
  sound,
  stale,    // it refers to a missing blob
  torn,     // as after a power failure
  damaged,  // it fails its checksum or, without one, contradicts the recipe
};
RecordState state_of_layer_record(const tree::BlobStore& store, std::string_view layer_key);
RecordState state_of_segment_record(const tree::BlobStore& store, std::string_view segment_key);

// Writes the recipe, then the segments, then the layer. Existing segments are kept unless `replace`, which is for a
// layer whose known segments are wrong.
void remember(const tree::BlobStore& store, const Recipe& recipe, bool replace = false);

// Drops the records of all layers with this segment, including its copies.
void forget_layers_with(const tree::BlobStore& store, Encoding encoding, const Segment& wrong);

// Drops an index entry that was found to be wrong.
void forget_segment(const tree::BlobStore& store, Encoding encoding, const store::PathInfo& path);

// Restores missing records of groups/ and segments/ from the recipes of existing blobs. Returns the number of layers.
std::size_t rebuild_index(const tree::BlobStore& store);

}  // namespace nixery::layer
