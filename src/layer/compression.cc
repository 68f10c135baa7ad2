#include "layer/compression.h"

#include <algorithm>
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
  if (cancelled_) throw Cancelled();
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
    if (cancelled_) return true;
    if (items_.empty()) return false;
    const auto* member = std::get_if<std::shared_ptr<Member>>(&items_.front());
    return !member || (*member)->ready;
  });
  if (cancelled_) throw Cancelled();
  Item item = std::move(items_.front());
  items_.pop_front();
  if (const auto* member = std::get_if<std::shared_ptr<Member>>(&item); member && (*member)->failed)
    std::rethrow_exception((*member)->failed);
  return item;
}

void OrderedQueue::cancel() {
  std::deque<Item> dropped;  // freed outside the lock: it gives chunks back
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  dropped.swap(items_);
  changed_.notify_all();
}

Compressors::Compressors(unsigned threads, std::size_t memory) : memory_(memory) {
  unused_.reserve(threads);  // so that giving one back cannot fail
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
}

void Compressors::submit(std::shared_ptr<OrderedQueue> queue, std::shared_ptr<OrderedQueue::Member> member,
                         Encoding encoding) {
  const std::lock_guard lock(mutex_);
  jobs_.push_back({std::move(queue), std::move(member), encoding});
  changed_.notify_one();
}

std::size_t Compressors::most_at_once(Encoding encoding) const {
  return std::max<std::size_t>(1, memory_ / (member_bound() + working_memory(encoding)));
}

// The caller has the mutex, and counts as working.
std::unique_ptr<Compressors::Scratch> Compressors::take_scratch(Encoding encoding) {
  while (!unused_.empty() && working_ + unused_.size() > most_at_once(encoding) + 1) unused_.pop_back();
  if (unused_.empty()) return std::make_unique<Scratch>();
  auto scratch = std::move(unused_.back());
  unused_.pop_back();
  return scratch;
}

void Compressors::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, stop, [&] { return !jobs_.empty() && working_ < most_at_once(jobs_.front().encoding); });
    if (stop.stop_requested()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    ++working_;
    std::unique_ptr<Scratch> scratch;
    std::exception_ptr failed;
    try {
      scratch = take_scratch(job.encoding);
    } catch (...) {
      failed = std::current_exception();
    }
    lock.unlock();
    if (scratch) failed = compress(job, *scratch);
    job.queue->finished(*job.member, std::move(failed));
    job = {};
    lock.lock();
    --working_;
    if (scratch) unused_.push_back(std::move(scratch));
    changed_.notify_one();  // there may be room for more than this one
  }
}

std::exception_ptr Compressors::compress(Job& job, Scratch& scratch) {
  try {
    if (!scratch.out) scratch.out = make_buffer();
    Chunk& chunk = *job.member->chunk;
    chunk.size =
        scratch.compressor.compress(job.encoding, {chunk.data.get(), chunk.size}, {scratch.out.get(), member_bound()});
    chunk.data.swap(scratch.out);
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace nixery::layer
