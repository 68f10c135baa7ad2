// One pass over a blob: the digest of its bytes and, if wanted, of the tar that they decompress to.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "image/digest.h"

namespace nixery::maintenance {

struct BlobContents {
  std::optional<image::Digest> digest;   // nullopt: the disk does not give the bytes
  std::string unreadable;                // why not
  std::optional<image::Digest> diff_id;  // nullopt: not wanted, or the bytes are no gzip or zstd
};

// `advance` is called with the number of bytes that were read. nullopt if the file is gone.
std::optional<BlobContents> read_blob(const std::filesystem::path& file, bool decompress,
                                      const std::function<void(std::size_t)>& advance);

}  // namespace nixery::maintenance
