#include "layer/writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <limits>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "cause.h"
#include "error.h"
#include "layer/compression.h"
#include "layer/in_flight.h"
#include "layer/layer_file.h"
#include "layer/nar.h"
#include "layer/segment_sinks.h"
#include "layer/tar.h"
#include "layer/walk.h"
#include "log.h"
#include "os/file.h"

namespace nixery::layer {

namespace {

constexpr std::size_t scratch_size = 64 << 10;            // bytes, for tar that is only hashed
constexpr std::uint64_t report_step = 1 << 20;            // bytes of tar between two calls of OnProgress
constexpr unsigned most_threads = 24;                     // where nobody says how many, with
constexpr std::size_t most_compressor_memory = 40 << 20;  // bytes for what they compress with
constexpr std::size_t unfinished_max = 4;                 // layers of one reader that are still being written or synced

// The store has other contents under the paths of `recipe` than it had: `made` came out.
Error other_contents(const Recipe& recipe, const Recipe& made) {
  std::vector<std::string_view> differ;
  for (std::size_t i = 0; i < std::min(recipe.segments.size(), made.segments.size()); ++i) {
    const Segment &before = recipe.segments[i], &now = made.segments[i];
    if (before.tar_length != now.tar_length || (before.tar_crc32 && before.tar_crc32 != now.tar_crc32))
      differ.push_back(before.path);
  }
  return {
      Failure::corrupt,
      fmt::format("{} cannot be made again: store paths have other contents here than when it was made{}{}; "
                  "`nix-store --repair-path` may bring those back, else remove its recipe from NIXERY_STATE/recipes, "
                  "and `nixery verify --repair` has the images that need it rebuilt",
                  recipe.blob.str(), differ.empty() ? "" : ": ", fmt::join(differ, ", "))};
}

unsigned threads_of(const WriterOptions& options) {
  return options.threads ? options.threads : std::clamp(std::thread::hardware_concurrency(), 1u, most_threads);
}

std::size_t compressor_memory(const WriterOptions& options) {
  return options.threads ? std::numeric_limits<std::size_t>::max() : most_compressor_memory;
}

// One that each thread works on, and some that are read and written meanwhile.
std::size_t chunks_for(unsigned threads) {
  return threads + std::min(2 * threads + 4, 12u);
}

}  // namespace

struct Totals {
  void add(const WriteStats& stats) {
    tarred += stats.tarred;
    compressed += stats.compressed;
    written += stats.written;
    copied += stats.copied;
    layers_reused += stats.layers_reused;
  }
  std::atomic<std::uint64_t> tarred{0}, compressed{0}, written{0}, copied{0}, layers_reused{0};
};

struct Writer::Shared {
  Shared(const tree::BlobStore& where, WriterOptions with)
      : store(where),
        options(std::move(with)),
        pool(chunks_for(threads_of(options))),
        compressors(threads_of(options), compressor_memory(options)) {}

  const tree::BlobStore& store;
  const WriterOptions options;
  InFlight in_flight;
  Totals totals;
  ChunkPool pool;
  Compressors compressors;  // last: its threads use the pool
};

// One call of write() or rebuild(). Its threads are joined before it ends.
class Writer::Call {
 public:
  Call(Shared& shared, const std::vector<Contents>& layers, Encoding encoding, const OnProgress& on_progress,
       const Recipe* expected, const std::stop_token& stop)
      : shared_(shared),
        layers_(layers),
        encoding_(encoding),
        on_progress_(on_progress),
        expected_(expected),
        cause_(current_cause()),
        caller_stop_(stop),
        forward_stop_(stop, [this] { stop_.request_stop(); }),
        sinks_{shared.pool, shared.compressors, encoding, stop_token_, [this](std::size_t bytes) { advance(bytes); }},
        blobs_(layers.size()) {
    for (const Contents& contents : layers) keys_.push_back(layer_key(encoding, contents));
  }

  // Rethrows the first failure. A layer has no blob afterwards only if it is not the expected one.
  void run() {
    std::vector<std::size_t> todo;
    for (std::size_t i = 0; i < layers_.size(); ++i)
      if (!reuse(i)) todo.push_back(i);
    // The big ones first, so that no core is left alone with one of them at the end.
    std::stable_sort(todo.begin(), todo.end(), [&](std::size_t a, std::size_t b) { return size_of(a) > size_of(b); });
    pass(todo, true);
    if (!stale_.empty()) pass(std::exchange(stale_, {}), false);
  }

  // What was done counts, however it ended.
  ~Call() { shared_.totals.add(stats()); }

  std::vector<std::optional<LayerBlob>>& blobs() { return blobs_; }
  // What came out in place of the expected one.
  const std::optional<Recipe>& other() const { return other_; }

  WriteStats stats() const { return {tarred_, compressed_, written_, copied_, reused_}; }

 private:
  std::uint64_t size_of(std::size_t layer) const {
    const auto& paths = layers_[layer].paths;
    return std::accumulate(paths.begin(), paths.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const store::PathInfo* path) { return sum + path->nar_size; });
  }

  bool reuse(std::size_t layer) {
    if (expected_) return false;  // what the index knows under this key may be another library's blob
    const std::optional<KnownLayer> known = find_layer(shared_.store, keys_[layer]);
    if (!known || !shared_.store.touch(tree::ObjectName::blob(known->blob))) return false;
    ++reused_;
    reused_bytes_ += known->tar_size;
    done(layer, {known->blob, known->size, known->diff_id, known->tar_size, encoding_, true});
    return true;
  }

  // Writes these layers. Those whose known segments turn out wrong are in stale_ afterwards.
  void pass(const std::vector<std::size_t>& todo, bool use_index) {
    std::atomic<std::size_t> next{0};
    {
      const std::size_t count = std::min<std::size_t>(todo.size(), std::clamp(threads_of(shared_.options), 2u, 8u));
      std::vector<std::jthread> readers;
      for (std::size_t i = 0; i < count; ++i) readers.emplace_back([&] { read_layers(todo, next, use_index); });
    }
    if (failure_) std::rethrow_exception(failure_);
    if (caller_stop_.stop_requested())
      throw Error(Failure::unavailable, "layering was stopped, as the registry is shutting down: try again");
  }

  void read_layers(const std::vector<std::size_t>& todo, std::atomic<std::size_t>& next, bool use_index) {
    const CauseScope cause(cause_);
    // Each layer is written, synced and published by a thread of its own, while this one reads on.
    std::deque<std::jthread> writers;
    try {
      std::vector<char> scratch(scratch_size);
      for (std::size_t i; !stop_.stop_requested() && (i = next++) < todo.size();) {
        if (writers.size() == unfinished_max) writers.pop_front();  // waits for it
        start_layer(todo[i], use_index, scratch, writers);
      }
    } catch (...) {
      fail(std::current_exception());
    }
  }

  void start_layer(std::size_t layer, bool use_index, std::span<char> scratch, std::deque<std::jthread>& writers) {
    std::optional<InFlight::Token> token = shared_.in_flight.enter(keys_[layer], stop_token_);
    if (!token) return;
    if (reuse(layer)) return;  // by now
    const auto queue = std::make_shared<OrderedQueue>();
    writers.emplace_back([this, layer, use_index, queue, held = *std::move(token)]() mutable {
      const InFlight::Token until_done = std::move(held);
      write_layer(layer, use_index, *queue);
    });
    try {
      read_layer(layer, use_index, scratch, queue);
    } catch (const Cancelled&) {
      queue->cancel();
    } catch (...) {
      fail(std::current_exception());
      queue->cancel();
    }
  }

  void read_layer(std::size_t layer, bool use_index, std::span<char> scratch,
                  const std::shared_ptr<OrderedQueue>& queue) {
    static const std::string tail(tar_tail_size, '\0');
    const Contents& contents = layers_[layer];
    image::Sha256 diff;
    diff.update(tar_head());
    std::uint64_t tar_size = tar_head().size() + tail.size();
    if (!contents.entries.empty()) {
      MemberSink sink(sinks_, diff, queue);
      for (const Entry& entry : contents.entries) append_entry(sink, entry);
      sink.finish();
      tar_size += end_segment(*queue, nullptr, sink);
    }
    for (const store::PathInfo* path : contents.paths) {
      const auto known = use_index ? find_segment(shared_.store, encoding_, *path) : std::nullopt;
      if (known) {
        queue->push(OrderedQueue::Copy{*known, path});
        HashSink sink(sinks_, diff, scratch);
        append_path(sink, *path);
        tar_size += sink.total();
        // One that is expected is proven by its digest, regardless of the store's present contents.
        if (!expected_ && !sink.is_of(known->segment)) refuse(layer, *path, *known);
      } else {
        MemberSink sink(sinks_, diff, queue);
        append_path(sink, *path);
        tar_size += end_segment(*queue, path, sink);
      }
    }
    diff.update(tail);
    queue->push(OrderedQueue::LayerEnd{diff.finish(), tar_size});
  }

  // Bytes of its tar. `path` is null for the entries of the root file system.
  std::uint64_t end_segment(OrderedQueue& queue, const store::PathInfo* path, const MemberSink& sink) {
    compressed_ += sink.total();
    queue.push(OrderedQueue::SegmentEnd{path, sink.total(), sink.crc32()});
    return sink.total();
  }

  // All of the path, or Error{corrupt} where it is not as long as Nix registered it: a power cut may leave valid paths
  // with empty files, and a collection may be deleting this one.
  void append_path(Sink& sink, const store::PathInfo& path) const {
    const std::uint64_t size = append_store_path(sink, shared_.options.root, path.path);
    sink.finish();
    if (path.nar_size == 0 || size == path.nar_size) return;
    throw damaged(path, fmt::format("its NAR has {} bytes, and Nix registered {}", size, path.nar_size));
  }

  // A known segment was made from other contents than the store has. The NAR's hash decides which are
  // right: a damaged store is an Error; a wrong segment is not used again, and the layer is made without it.
  [[noreturn]] void refuse(std::size_t layer, const store::PathInfo& path, const KnownSegment& known) {
    if (nar_of(shared_.options.root, path.path).hash != path.nar_hash)
      throw damaged(path, "its contents are not those that Nix registered");
    log::warning("a layer has wrong contents", {{"digest", known.blob.str()}, {"path", path.path.str()}});
    forget_layers_with(shared_.store, encoding_, known.segment);
    stale(layer, &path);
    throw Cancelled();
  }

  static Error damaged(const store::PathInfo& path, std::string_view how) {
    return {Failure::corrupt, fmt::format("{0} is damaged in the store: {1}; `nix-store --repair-path {0}` fixes it",
                                          path.path.str(), how)};
  }

  void write_layer(std::size_t layer, bool use_index, OrderedQueue& queue) {
    const CauseScope cause(cause_);
    try {
      LayerFile file(shared_.store, encoding_);
      Recipe recipe = file.assemble(queue);
      recipe.entries = layers_[layer].entries;
      if (expected_ && recipe.blob != expected_->blob) {
        const bool copied = file.copied() > 0;  // perhaps from what another library made
        other_ = std::move(recipe);
        if (copied) throw StaleSegment{nullptr, {}};
        return;
      }
      file.publish(recipe);
      written_ += recipe.size;
      copied_ += file.copied();
      // Copied segments give the right blob also where the store holds other contents, but then not its diff id.
      if (expected_ && recipe.diff_id != expected_->diff_id) recipe = *expected_;
      remember(shared_.store, recipe, !use_index);
      done(layer, {recipe.blob, recipe.size, recipe.diff_id, recipe.tar_size, encoding_, false});
    } catch (const Cancelled&) {
    } catch (const StaleSegment& segment) {
      if (segment.blob)  // or the index is wrong, which verify distinguishes
        log::warning("a layer's bytes are not those of its index",
                     {{"digest", segment.blob->str()}, {"path", segment.path->path.str()}});
      stale(layer, segment.path);
      queue.cancel();
    } catch (...) {
      fail(std::current_exception());
      queue.cancel();
    }
  }

  void stale(std::size_t layer, const store::PathInfo* path) {
    if (path) forget_segment(shared_.store, encoding_, *path);
    const std::lock_guard lock(mutex_);
    if (std::find(stale_.begin(), stale_.end(), layer) == stale_.end()) stale_.push_back(layer);
  }

  void fail(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(failure);
    stop_.request_stop();
  }

  void done(std::size_t layer, LayerBlob blob) {
    const std::lock_guard lock(mutex_);
    blobs_[layer] = std::move(blob);
    ++progress_.layers_done;
    report();
  }

  void advance(std::uint64_t bytes) {
    const std::uint64_t before = tarred_.fetch_add(bytes);
    if (before / report_step == (before + bytes) / report_step) return;
    const std::lock_guard lock(mutex_);
    report();
  }

  void report() {
    progress_.layers = layers_.size();
    progress_.bytes_done = tarred_ + reused_bytes_;
    if (on_progress_) on_progress_(progress_);
  }

  Shared& shared_;
  const std::vector<Contents>& layers_;
  const Encoding encoding_;
  const OnProgress& on_progress_;
  const Recipe* const expected_;  // of the only layer; null for any
  const Cause cause_;
  std::stop_source stop_;  // requested by the caller, or by the first failure
  const std::stop_token stop_token_ = stop_.get_token();
  const std::stop_token caller_stop_;
  const std::stop_callback<std::function<void()>> forward_stop_;
  std::vector<std::string> keys_;
  const SinkContext sinks_;

  std::atomic<std::uint64_t> tarred_{0}, compressed_{0}, written_{0}, copied_{0}, reused_{0}, reused_bytes_{0};

  std::mutex mutex_;  // guards what follows
  std::exception_ptr failure_;
  std::vector<std::optional<LayerBlob>> blobs_;
  std::vector<std::size_t> stale_;
  std::optional<Recipe> other_;  // written by the thread of the one layer
  WriteProgress progress_;
};

Writer::Writer(const tree::BlobStore& store, WriterOptions options)
    : shared_(std::make_unique<Shared>(store, std::move(options))) {}

Writer::~Writer() = default;

WriteStats Writer::totals() const {
  const Totals& of = shared_->totals;
  return {of.tarred, of.compressed, of.written, of.copied, of.layers_reused};
}

Written Writer::write(const std::vector<Contents>& layers, Encoding encoding, const OnProgress& progress,
                      const std::stop_token& stop) {
  Call call(*shared_, layers, encoding, progress, nullptr, stop);
  call.run();
  Written written{{}, call.stats()};
  for (std::optional<LayerBlob>& blob : call.blobs()) written.layers.push_back(std::move(*blob));
  return written;
}

LayerBlob Writer::rebuild(const image::Digest& blob, const std::stop_token& stop) {
  const auto unknown = [&](std::string_view why) {
    return Error(Failure::unknown_blob, fmt::format("{} is not here and cannot be made again: {}", blob.str(), why));
  };
  const std::optional<Recipe> recipe = read_recipe(shared_->store, blob);
  if (!recipe) throw unknown("it has no recipe");
  if (recipe->format != format_version) throw unknown(fmt::format("its format is version {}", recipe->format));
  const auto other_library = [&] {
    return unknown(fmt::format(
        "it was compressed by {}, and the library here gives other bytes (this program was "
        "compiled with {}); `nixery verify --repair` removes the images that need it, so that "
        "they are rebuilt",
        recipe->segments.empty() ? "another library" : recipe->segments.front().library, recipe->encoding.library()));
  };
  if (!can_rebuild(*recipe)) throw other_library();

  std::vector<store::PathInfo> paths;
  for (const Segment& segment : recipe->segments)
    paths.push_back({*store::StorePath::parse(segment.path), segment.nar_hash, 0, {}});
  Contents contents{recipe->entries, {}};
  for (const store::PathInfo& path : paths) contents.paths.push_back(&path);

  const std::vector<Contents> layers{std::move(contents)};
  const OnProgress nobody;
  Call call(*shared_, layers, recipe->encoding, nobody, &*recipe, stop);
  call.run();
  if (std::optional<LayerBlob>& made = call.blobs().front()) return std::move(*made);
  if (call.other()->diff_id != recipe->diff_id) throw other_contents(*recipe, *call.other());
  remember_failure(shared_->store, *recipe);
  throw other_library();
}

}  // namespace nixery::layer
