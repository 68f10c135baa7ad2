// Store paths → layer blobs in the tree, with their digests. The front door of this room.
//
//   reader (walks the store, tars, hashes the diff id) → chunks → compressor threads → writer (in order, hashes,
//   writes)
//
// A store path's segment is compressed once: any later layer that holds the path is given a copy of the byte range from
// the blob that has it, and only the diff id is hashed anew from the store. A layer of known contents costs a look
// into the index and at its blob. What is in the tree is never compressed again, so no upgrade of a library moves a
// digest.
//
// Memory is bounded whatever is written: a member, about 1 MiB, for each chunk in job, and the compressors' own.
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

// A layer that is published: what descriptors and the config's rootfs need.
struct LayerBlob {
  image::Digest digest;
  std::uint64_t size = 0;      // bytes of the blob
  image::Digest diff_id;       // digest of the tar
  std::uint64_t tar_size = 0;  // bytes of the tar
  Encoding encoding;
  bool reused = false;  // it was there already: nothing was read
};

// Bytes, but for layers_reused.
struct WriteStats {
  std::uint64_t tarred = 0;      // read from the store
  std::uint64_t compressed = 0;  // of `tarred`, what went through a compressor
  std::uint64_t written = 0;     // to blobs, all told
  std::uint64_t copied = 0;      // of `written`, what came from other blobs
  std::uint64_t layers_reused = 0;
};

struct Written {
  std::vector<LayerBlob> layers;  // in the order asked for
  WriteStats stats;
};

struct WriteProgress {
  std::size_t layers_done = 0;
  std::size_t layers = 0;
  std::uint64_t bytes_done = 0;  // of tar, those of layers that are reused among them; about
};
// Called by several threads, one at a time, about once a megabyte. Must not throw.
using OnProgress = std::function<void(const WriteProgress&)>;

struct WriterOptions {
  // Threads that compress, whatever they take. 0: one for each core, up to 24, of which as many work at once as keep
  // the peak below 96 MiB: all with gzip-fast, 8 with zstd-balanced, 4 with gzip-small.
  unsigned threads = 0;
  std::filesystem::path root = "/";  // where /nix/store lies, for chroot stores
};

// Thread-safe: many builds may write at once. They share the compressors and the memory; one that asks for a layer that
// another is just writing waits for it. Other processes and hosts may write to the same tree.
class Writer {
 public:
  // `store` must outlive it.
  explicit Writer(const tree::BlobStore& store, WriterOptions options = {});
  ~Writer();

  // Publishes a blob for each of `layers`, and renews those that are there (tree/tree_lock.h), all of whose store paths
  // must be valid; may be called with some of an image's layers while others are still being built. Their PathInfos
  // must live until it returns. Where the store holds less or more than a path's nar_size (0: not known), that is
  // Error{corrupt}, and no such layer is published or remembered. Throws the first Error that any thread met (its
  // message names the path); then nothing half-done is left, but layers that were finished stay.
  // Throws Error{unavailable} once stop is requested.
  Written write(const std::vector<Contents>& layers, Encoding encoding, const OnProgress& progress = {},
                const std::stop_token& stop = {});

  // Of all calls so far.
  WriteStats totals() const;

  // Makes a blob that is gone from its recipe again. Its store paths must be valid: see read_recipe(). Throws
  // Error{unknown_blob} where can_rebuild() is false, or turns out to be: the library here gives other bytes, which is
  // remembered; and Error{corrupt} where store paths have other contents. The recipe stays, as another host may do it.
  LayerBlob rebuild(const image::Digest& blob, const std::stop_token& stop = {});

 private:
  struct Shared;
  class Call;
  std::unique_ptr<Shared> shared_;
};

}  // namespace nixery::layer
