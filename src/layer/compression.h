// The bounded machinery under Writer: chunks of memory, the threads that compress them, and the queue that puts a
// layer's pieces back in order. Knows nothing of the store or the tree.
//
// Nothing here can deadlock: whoever waits for a chunk holds none that only he could free; every other chunk is being
// filled, being compressed, or about to be written by a thread that needs no chunk.
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

// A fixed number of chunks, made when first needed and kept. Thread-safe; must outlive its chunks.
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

// Thrown into threads of a call that another thread has already failed. Never leaves Writer.
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

  // Waits for the next piece, and if it is a member, until it is compressed. Rethrows what failed there; throws
  // Cancelled once cancel() was called.
  Item pop();

  // Either side gives up: drops all pieces, wakes the other.
  void cancel();

 private:
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Item> items_;
  bool cancelled_ = false;
};

// The threads that compress, shared by all that is being written. Thread-safe.
class Compressors {
 public:
  // As many of the threads work at once as `memory` bytes allow, at least one. Throws std::system_error where so many
  // threads cannot be made.
  Compressors(unsigned threads, std::size_t memory);
  ~Compressors() = default;  // drops what has not begun

  // Compresses the member's chunk in place, then tells the queue. Never waits: the pool bounds what there can be.
  void submit(std::shared_ptr<OrderedQueue> queue, std::shared_ptr<OrderedQueue::Member> member, Encoding encoding);

 private:
  struct Job {
    std::shared_ptr<OrderedQueue> queue;
    std::shared_ptr<OrderedQueue::Member> member;
    Encoding encoding;
  };
  // What a thread needs to work, and the memory goes to: kept from one member to the next, whoever takes that.
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
  std::vector<std::unique_ptr<Scratch>> unused_;  // the one used last at the end
  std::vector<std::jthread> threads_;             // last: each is told to stop, and joined, before the rest goes
};

}  // namespace nixery::layer
