// The destination of a tar stream. A sink provides its own buffers, so that file data is read directly to where it is
// hashed and compressed. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace nixery::layer {

class Sink {
 public:
  Sink() = default;
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  virtual ~Sink() = default;

  // Free space of at least one byte; fill a part of it, then report its size.
  std::span<char> buffer() {
    if (used_ == buffer_.size()) renew();
    return buffer_.subspan(used_);
  }
  void advance(std::size_t bytes) {
    used_ += bytes;
    total_ += bytes;
  }

  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::span<char> free = buffer();
      const std::size_t n = std::min(free.size(), bytes.size());
      std::memcpy(free.data(), bytes.data(), n);
      advance(n);
      bytes.remove_prefix(n);
    }
  }

  // Flushes the buffer. The sink can be used again afterwards.
  void finish() {
    if (used_ > 0) take(used_);
    buffer_ = {};
    used_ = 0;
  }

  std::uint64_t total() const { return total_; }  // bytes so far

 private:
  // The first `used` bytes of the current buffer are final; the buffer is not touched again.
  virtual void take(std::size_t used) = 0;
  // Returns a new, non-empty buffer. May block, may throw.
  virtual std::span<char> next_buffer() = 0;

  void renew() {
    if (used_ > 0) take(used_);
    buffer_ = {};
    used_ = 0;
    buffer_ = next_buffer();
  }

  std::span<char> buffer_;
  std::size_t used_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace nixery::layer
