#include "layer/layer_file.h"

#include <fcntl.h>
#include <libdeflate.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "error.h"
#include "log.h"

namespace nixery::layer {

namespace {

constexpr std::size_t copy_step = 64 << 10;        // bytes: stays in a core's cache from reading to hashing
constexpr std::uint64_t writeback_step = 8 << 20;  // bytes after which the disk is put to work

// From one file to another within the kernel, where the file system lets it. Bytes moved; 0 where it cannot.
std::size_t copy_in_kernel(int from, off_t at, int to, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = copy_file_range(from, &at, to, nullptr, size - done, 0);
    if (n <= 0) break;  // a real failure comes back from the write that follows
    done += static_cast<std::size_t>(n);
  }
  return done;
}

// Empty where it cannot be opened: the layer is then made without it.
os::Fd open_blob(const tree::BlobStore& store, const image::Digest& digest) {
  try {
    return store.open(tree::ObjectName::blob(digest));
  } catch (const Error& error) {
    log::warning("a blob cannot be opened", {{"digest", digest.str()}, {"error", error.what()}});
    return {};
  }
}

}  // namespace

LayerFile::LayerFile(const tree::BlobStore& store, Encoding encoding)
    : store_(store), encoding_(encoding), file_(store.scratch(tree::Kind::blob)) {}

void LayerFile::append(std::string_view bytes) {
  hash_.update(bytes);
  segment_crc_ = libdeflate_crc32(segment_crc_, bytes.data(), bytes.size());
  file_.write(bytes);
  // So that the fsync at the end finds little to do, and a long layer no burst.
  if ((size_ + bytes.size()) / writeback_step != size_ / writeback_step)
    sync_file_range(file_.fd(), 0, 0, SYNC_FILE_RANGE_WRITE);
  size_ += bytes.size();
}

void LayerFile::copy(const KnownSegment& known, const store::PathInfo* path) {
  const os::Fd fd = open_blob(store_, known.blob);
  if (!fd) throw StaleSegment{path, {}};  // evicted since it was looked up
  const auto buffer = std::make_unique_for_overwrite<char[]>(copy_step);
  auto at = static_cast<off_t>(known.segment.offset);
  for (std::uint64_t left = known.segment.length; left > 0;) {
    const ssize_t n = pread(fd.get(), buffer.get(), std::min<std::uint64_t>(left, copy_step), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      log::warning("a blob cannot be read",
                   {{"digest", known.blob.str()}, {"error", std::generic_category().message(errno)}});
    if (n <= 0) throw StaleSegment{path, known.blob};
    const std::string_view bytes(buffer.get(), static_cast<std::size_t>(n));
    hash_.update(bytes);
    segment_crc_ = libdeflate_crc32(segment_crc_, bytes.data(), bytes.size());
    file_.write(bytes.substr(copy_in_kernel(fd.get(), at, file_.fd(), bytes.size())));
    size_ += bytes.size();
    at += n;
    left -= bytes.size();
  }
  if (segment_crc_ != known.segment.crc32) throw StaleSegment{path, known.blob};
  copied_ += known.segment.length;
}

void LayerFile::end_segment(Recipe& recipe, const OrderedQueue::SegmentEnd& end) {
  if (end.path)
    recipe.segments.push_back({end.path->path.str(), end.path->nar_hash, encoding_.library(), segment_at_,
                               size_ - segment_at_, end.tar_length, segment_crc_, end.tar_crc32});
  segment_at_ = size_;
  segment_crc_ = 0;
}

Recipe LayerFile::assemble(OrderedQueue& queue) {
  const image::Digest none = image::Digest::of("");
  Recipe recipe{format_version, encoding_, none, 0, none, 0, {}, {}, {}};
  append(encoding_.head());
  segment_at_ = size_;
  segment_crc_ = 0;
  for (;;) {
    const OrderedQueue::Item item = queue.pop();
    if (const auto* member = std::get_if<std::shared_ptr<OrderedQueue::Member>>(&item)) {
      const Chunk& chunk = *(*member)->chunk;
      append({chunk.data.get(), chunk.size});
    } else if (const auto* known = std::get_if<OrderedQueue::Copy>(&item)) {
      copy(known->known, known->path);
      Segment segment = known->known.segment;
      segment.offset = segment_at_;
      recipe.segments.push_back(std::move(segment));
      segment_at_ = size_;
      segment_crc_ = 0;
    } else if (const auto* segment = std::get_if<OrderedQueue::SegmentEnd>(&item)) {
      end_segment(recipe, *segment);
    } else {
      const auto& end = std::get<OrderedQueue::LayerEnd>(item);
      append(encoding_.tail());
      recipe.blob = hash_.finish();
      recipe.size = size_;
      recipe.diff_id = end.diff_id;
      recipe.tar_size = end.tar_size;
      return recipe;
    }
  }
}

void LayerFile::publish(const Recipe& recipe) {
  store_.put(tree::ObjectName::blob(recipe.blob), std::move(file_));
}

}  // namespace nixery::layer
