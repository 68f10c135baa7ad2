// Reads a blob once: the digest of its bytes and, if wanted, of the decompressed tar.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "image/digest.h"
#include "os/fd.h"

namespace nixery::maintenance {

struct BlobContents {
  std::optional<image::Digest> digest;   // nullopt: the bytes cannot be read
  std::string unreadable;                // why not
  std::optional<image::Digest> diff_id;  // nullopt: not wanted, or the bytes are not gzip or zstd
};

// Reads `blob` from its position. `advance` is called with the number of bytes that were read.
BlobContents read_blob(const os::Fd& blob, bool decompress, const std::function<void(std::size_t)>& advance);

}  // namespace nixery::maintenance
