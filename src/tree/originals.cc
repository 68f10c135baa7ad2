#include "tree/originals.h"

#include <fmt/format.h>
#include <zstd.h>

#include "error.h"

namespace nixery::tree {

namespace {

constexpr int compression_level = 3;  // compresses an SBOM to a tenth; higher levels gain little

std::string compress(std::string_view bytes) {
  std::string frame(ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t size = ZSTD_compress(frame.data(), frame.size(), bytes.data(), bytes.size(), compression_level);
  if (ZSTD_isError(size)) throw Error(Failure::storage, fmt::format("cannot compress: {}", ZSTD_getErrorName(size)));
  frame.resize(size);
  return frame;
}

std::optional<std::string> decompress(std::string_view frame) {
  const auto size = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (size > largest_original) return std::nullopt;  // the two values that say "unknown" and "no frame", too
  std::string bytes(static_cast<std::size_t>(size), '\0');
  if (ZSTD_decompress(bytes.data(), bytes.size(), frame.data(), frame.size()) != size) return std::nullopt;
  return bytes;
}

}  // namespace

void keep_original(const BlobStore& store, const image::Digest& digest, std::string_view bytes) {
  if (bytes.size() > largest_original || !store.keeps(Kind::original) || read_original(store, digest)) return;
  store.put(ObjectName::original(digest), compress(bytes));
}

std::optional<std::string> read_original(const BlobStore& store, const image::Digest& digest) {
  const auto frame = read_if_readable(store, ObjectName::original(digest));
  auto bytes = frame ? decompress(*frame) : std::nullopt;
  return bytes && image::Digest::of(*bytes) == digest ? std::move(bytes) : std::nullopt;
}

}  // namespace nixery::tree
