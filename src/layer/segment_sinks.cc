#include "layer/segment_sinks.h"

#include <libdeflate.h>

#include <utility>

namespace nixery::layer {

void SegmentSink::pass(std::span<const char> tar) {
  diff_.update({tar.data(), tar.size()});
  crc_ = libdeflate_crc32(crc_, tar.data(), tar.size());
  context_.on_progress(tar.size());
}

void MemberSink::take(std::size_t used) {
  auto member = std::make_shared<OrderedQueue::Member>(OrderedQueue::Member{std::move(chunk_), false, nullptr});
  member->chunk->size = used;
  pass({member->chunk->data.get(), used});
  queue_->push(member);
  context_.compressors.submit(queue_, std::move(member), context_.encoding);
}

std::span<char> MemberSink::next_buffer() {
  chunk_ = context_.pool.take();
  check_stopping();
  return {chunk_->data.get(), member_size};
}

}  // namespace nixery::layer
