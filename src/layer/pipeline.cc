#include "layer/pipeline.h"

#include <utility>

namespace nixery::layer {

namespace {

std::unique_ptr<char[]> make_buffer() {
  return std::make_unique_for_overwrite<char[]>(member_bound());
}

}  // namespace

ChunkPool::Pointer ChunkPool::take() {
  std::unique_lock lock(mutex_);
  freed_.wait(lock, [&] { return !free_.empty() || all_.size() < limit_; });
  if (free_.empty()) {
    all_.push_back(std::make_unique<Chunk>(Chunk{make_buffer(), 0}));
    free_.reserve(all_.size());  // so that give_back() cannot fail
    free_.push_back(all_.back().get());
  }
  Chunk* chunk = free_.back();  // the one used last: it may still be in a core's cache
  free_.pop_back();
  chunk->size = 0;
  return Pointer(chunk, GiveBack{this});
}

void ChunkPool::give_back(Chunk* chunk) {
  const std::lock_guard lock(mutex_);
  free_.push_back(chunk);
  freed_.notify_one();
}

void OrderedQueue::push(Item item) {
  const std::lock_guard lock(mutex_);
  if (abandoned_) throw Abandoned();
  items_.push_back(std::move(item));
  changed_.notify_all();
}

void OrderedQueue::finished(Member& member, std::exception_ptr failed) {
  const std::lock_guard lock(mutex_);
  member.ready = true;
  member.failed = std::move(failed);
  changed_.notify_all();
}

OrderedQueue::Item OrderedQueue::pop() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    if (abandoned_) return true;
    if (items_.empty()) return false;
    const auto* member = std::get_if<std::shared_ptr<Member>>(&items_.front());
    return !member || (*member)->ready;
  });
  if (abandoned_) throw Abandoned();
  Item item = std::move(items_.front());
  items_.pop_front();
  if (const auto* member = std::get_if<std::shared_ptr<Member>>(&item); member && (*member)->failed)
    std::rethrow_exception((*member)->failed);
  return item;
}

void OrderedQueue::abandon() {
  std::deque<Item> dropped;  // freed outside the lock: it gives chunks back
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  dropped.swap(items_);
  changed_.notify_all();
}

Compressors::Compressors(unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
}

void Compressors::submit(std::shared_ptr<OrderedQueue> queue, std::shared_ptr<OrderedQueue::Member> member,
                         Encoding encoding) {
  const std::lock_guard lock(mutex_);
  jobs_.push_back({std::move(queue), std::move(member), encoding});
  changed_.notify_one();
}

void Compressors::run(const std::stop_token& stop) {
  MemberCompressor compressor;
  std::unique_ptr<char[]> out;  // swapped with the chunk's buffer after each member
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [&] { return !jobs_.empty(); });
      if (stop.stop_requested()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    std::exception_ptr failed;
    try {
      if (!out) out = make_buffer();
      Chunk& chunk = *job.member->chunk;
      chunk.size = compressor.compress(job.encoding, {chunk.data.get(), chunk.size}, {out.get(), member_bound()});
      chunk.data.swap(out);
    } catch (...) {
      failed = std::current_exception();
    }
    job.queue->finished(*job.member, std::move(failed));
  }
}

}  // namespace nixery::layer
