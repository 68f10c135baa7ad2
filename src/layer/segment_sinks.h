// Sinks of a layer's tar: all of it is hashed for the layer's diff id, and unknown segments are passed to the
// compressors. One of them for each segment; not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>

#include "image/digest.h"
#include "layer/compression.h"
#include "layer/encoding.h"
#include "layer/sink.h"

namespace nixery::layer {

// State shared by the sinks of one call of Writer. Outlives them.
struct SinkContext {
  ChunkPool& pool;
  Compressors& compressors;
  Encoding encoding;
  const std::stop_token& stopping;               // once it is set, a sink that wants room throws Cancelled
  std::function<void(std::size_t)> on_progress;  // bytes of tar; called by all threads that read
};

class SegmentSink : public Sink {
 public:
  std::uint32_t crc32() const { return crc_; }  // of what was finished

 protected:
  // `diff` is the layer's: its segments are hashed one after another.
  SegmentSink(const SinkContext& context, image::Sha256& diff) : context_(context), diff_(diff) {}

  void pass(std::span<const char> tar);
  void check_stopping() const {
    if (context_.stopping.stop_requested()) throw Cancelled();
  }

  const SinkContext& context_;

 private:
  image::Sha256& diff_;
  std::uint32_t crc_ = 0;
};

// Tar that is compressed: each buffer becomes a member of `queue`.
class MemberSink : public SegmentSink {
 public:
  MemberSink(const SinkContext& context, image::Sha256& diff, std::shared_ptr<OrderedQueue> queue)
      : SegmentSink(context, diff), queue_(std::move(queue)) {}

 private:
  void take(std::size_t used) override;
  std::span<char> next_buffer() override;

  const std::shared_ptr<OrderedQueue> queue_;
  ChunkPool::Pointer chunk_{nullptr, {}};
};

// Tar of a known segment: only hashed, in `scratch`.
class HashSink : public SegmentSink {
 public:
  HashSink(const SinkContext& context, image::Sha256& diff, std::span<char> scratch)
      : SegmentSink(context, diff), scratch_(scratch) {}

  // Whether the finished tar is the one that the segment was made from.
  bool is_of(const Segment& segment) const {
    return total() == segment.tar_length && segment.tar_crc32.value_or(crc32()) == crc32();
  }

 private:
  void take(std::size_t used) override { pass(scratch_.first(used)); }
  std::span<char> next_buffer() override {
    check_stopping();
    return scratch_;
  }

  const std::span<char> scratch_;
};

}  // namespace nixery::layer
