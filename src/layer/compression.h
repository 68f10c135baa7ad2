// The bounded machinery under Writer: chunks of memory, the threads that compress them, and the queue that puts a
// layer's pieces back in order. Independent of the store and the tree.
//
// No deadlock: a thread that waits for a chunk holds none itself; every other chunk is being filled, compressed, or
// written by a thread that needs no further chunk.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <variant>
#include <vector>

#include "layer/encoding.h"
#include "layer/index.h"

namespace nixery::layer {

// One member, first raw, then compressed.
struct Chunk {
  std::unique_ptr<char[]> data;  // member_bound() bytes
  std::size_t size = 0;
};

// A fixed number of chunks, allocated on demand and reused. Thread-safe; must outlive its chunks.
class ChunkPool {
  struct GiveBack {
    ChunkPool* pool;
    void operator()(Chunk* chunk) const { pool->give_back(chunk); }
  };

 public:
  using Pointer = std::unique_ptr<Chunk, GiveBack>;

  explicit ChunkPool(std::size_t limit) : limit_(limit) {}
  Pointer take();  // waits until one is free

 private:
  void give_back(Chunk* chunk);

  const std::size_t limit_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Chunk>> all_;
  std::vector<Chunk*> free_;
};

// Ends the other threads of a call after a failure in one thread. Never leaves Writer.
struct Cancelled {};

// A layer's pieces in order, from the thread that reads to the thread that writes. Thread-safe.
class OrderedQueue {
 public:
  struct Member {
    ChunkPool::Pointer chunk;
    bool ready = false;         // guarded by the queue's mutex, as is what follows
    std::exception_ptr failed;  // why it could not be compressed
  };
  struct Copy {
    KnownSegment known;
    const store::PathInfo* path;
  };
  struct SegmentEnd {  // of the members before it
    const store::PathInfo* path;
    std::uint64_t tar_length;
    std::uint32_t tar_crc32;
  };
  struct LayerEnd {
    image::Digest diff_id;
    std::uint64_t tar_size;
  };
  using Item = std::variant<std::shared_ptr<Member>, Copy, SegmentEnd, LayerEnd>;

  // Throws Cancelled once cancel() was called.
  void push(Item item);
  void finished(Member& member, std::exception_ptr failed);

  // Waits for the next piece and, if it is a member, for its compression. Rethrows a failure of the compression; throws
  // Cancelled once cancel() was called.
  Item pop();

  // Called by either side: drops all pieces and wakes the other side.
  void cancel();

 private:
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Item> items_;
  bool cancelled_ = false;
};

// The compressing threads, shared by all writers. Thread-safe.
class Compressors {
 public:
  // As many threads work at the same time as `memory` bytes allow, at least one. Throws std::system_error if the
  // threads cannot be made.
  Compressors(unsigned threads, std::size_t memory);
  ~Compressors() = default;  // drops work that has not started

  // Compresses the member's chunk in place, then notifies the queue. Never waits: the pool bounds the amount.
  void submit(std::shared_ptr<OrderedQueue> queue, std::shared_ptr<OrderedQueue::Member> member, Encoding encoding);

 private:
  struct Job {
    std::shared_ptr<OrderedQueue> queue;
    std::shared_ptr<OrderedQueue::Member> member;
    Encoding encoding;
  };
  // Working memory of a thread, reused for the next member by any thread.
  struct Scratch {
    MemberCompressor compressor;
    std::unique_ptr<char[]> out;  // swapped with the chunk's buffer after each member
  };

  void run(const std::stop_token& stop);
  static std::exception_ptr compress(Job& job, Scratch& scratch);
  std::size_t most_at_once(Encoding encoding) const;
  std::unique_ptr<Scratch> take_scratch(Encoding encoding);

  const std::size_t memory_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::deque<Job> jobs_;
  std::size_t working_ = 0;                       // threads
  std::vector<std::unique_ptr<Scratch>> unused_;  // most recently used last
  std::vector<std::jthread> threads_;             // last: stopped and joined before the rest is destroyed
};

}  // namespace nixery::layer
