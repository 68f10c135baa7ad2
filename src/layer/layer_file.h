// Writes one layer blob: pieces in order → file → digest. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "layer/compression.h"
#include "layer/index.h"
#include "layer/writer.h"
#include "os/file.h"

namespace nixery::layer {

// Thrown if a known segment's bytes do not match the index.
struct StaleSegment {
  const store::PathInfo* path;
  std::optional<image::Digest> blob;  // the blob with wrong bytes; nullopt if it is missing
};

class LayerFile {
 public:
  LayerFile(const tree::BlobStore& store, Encoding encoding);

  // Takes pieces until the layer's end; then the file holds the whole layer. Throws Error, StaleSegment, Cancelled.
  Recipe assemble(OrderedQueue& queue);

  // Moves the file into the tree, also over an existing blob, which may be corrupt.
  void publish(const Recipe& recipe);  // once

  std::uint64_t copied() const { return copied_; }

 private:
  void append(std::string_view bytes);
  void copy(const KnownSegment& known, const store::PathInfo* path);
  void end_segment(Recipe& recipe, const OrderedQueue::SegmentEnd& end);

  const tree::BlobStore& store_;
  Encoding encoding_;
  os::PendingFile file_;
  image::Sha256 hash_;
  std::uint64_t size_ = 0;
  std::uint64_t copied_ = 0;
  std::uint64_t segment_at_ = 0;   // where the current segment begins
  std::uint32_t segment_crc_ = 0;  // of the bytes since then
};

}  // namespace nixery::layer
