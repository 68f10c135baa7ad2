// Writes layer blobs of store paths into the tree and returns their digests. The public interface of this component.
//
//   reader (walks the store, tars, hashes the diff id) → chunks → compressor threads → writer (in order, hashes,
//   writes)
//
// A store path's segment is compressed once: any later layer that holds the path copies the byte range from a blob that
// has it, and only the diff id is hashed again from the store. A layer of known contents costs only a look-up in the
// index and of its blob. Existing contents are never compressed again, so no upgrade of a library changes a digest.
//
// Memory is bounded: one member, about 1 MiB, for each chunk in use, and the compressors' own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>
#include <vector>

#include "image/digest.h"
#include "layer/encoding.h"
#include "layer/index.h"
#include "store/closure.h"
#include "tree/blob_store.h"

namespace nixery::layer {

// A published layer: the data for descriptors and the config's rootfs.
struct LayerBlob {
  image::Digest digest;
  std::uint64_t size = 0;      // bytes of the blob
  image::Digest diff_id;       // digest of the tar
  std::uint64_t tar_size = 0;  // bytes of the tar
  Encoding encoding;
  bool reused = false;  // it existed already: nothing was read
};

// Bytes, but for layers_reused.
struct WriteStats {
  std::uint64_t tarred = 0;      // read from the store
  std::uint64_t compressed = 0;  // the part of `tarred` that was compressed
  std::uint64_t written = 0;     // to blobs, in total
  std::uint64_t copied = 0;      // the part of `written` that was copied from other blobs
  std::uint64_t layers_reused = 0;
};

struct Written {
  std::vector<LayerBlob> layers;  // in the requested order
  WriteStats stats;
};

struct WriteProgress {
  std::size_t layers_done = 0;
  std::size_t layers = 0;
  std::uint64_t bytes_done = 0;  // of tar, those of layers that are reused among them; about
};
// Called by several threads, one at a time, about once per megabyte. Must not throw.
using OnProgress = std::function<void(const WriteProgress&)>;

struct WriterOptions {
  // Number of compressing threads. 0: one for each core, up to 24, of which as many work at the same time as keep the
  // peak memory below 96 MiB: all with gzip-fast, 8 with zstd-balanced, 4 with gzip-small.
  unsigned threads = 0;
  std::filesystem::path root = "/";  // directory with /nix/store, for chroot stores
};

// Thread-safe: builds share the compressors and the memory; a build waits for a layer that another one is writing.
// Other processes and hosts may write to the same tree.
class Writer {
 public:
  // `store` must outlive it.
  explicit Writer(const tree::BlobStore& store, WriterOptions options = {});
  ~Writer();

  // Publishes a blob for each of `layers`, and touches existing ones (tree/tree_lock.h), all of whose store paths must
  // be valid; can be called for some of an image's layers while others are still being built. Their PathInfos must live
  // until it returns. A path whose size differs from its nar_size (0: unknown) is Error{corrupt}, and such a layer is
  // neither published nor indexed. Throws the first Error that any thread met (its message names the path); then no
  // partial layer is left, but finished ones stay. Throws Error{unavailable} once stop is requested.
  Written write(const std::vector<Contents>& layers, Encoding encoding, const OnProgress& progress = {},
                const std::stop_token& stop = {});

  // Of all calls so far.
  WriteStats totals() const;

  // Rebuilds a missing blob from its recipe. Its store paths must be valid: see read_recipe(). Throws
  // Error{unknown_blob} if can_rebuild() is false or this library gives other bytes, which is recorded; and
  // Error{corrupt} if store paths have other contents. The recipe stays, because another host may succeed.
  LayerBlob rebuild(const image::Digest& blob, const std::stop_token& stop = {});

 private:
  struct Shared;
  class Call;
  std::unique_ptr<Shared> shared_;
};

}  // namespace nixery::layer
