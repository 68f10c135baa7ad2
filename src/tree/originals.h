// Copies of the small blobs that no recipe can make again: configs, SBOMs, provenance, signatures. A blob that
// the tree has lost is restored from its copy.
//
// A copy holds the blob's bytes as one zstd frame; the blob's digest is its name.
//
// Written without waiting for the disk; a copy that does not match its name counts as absent. Thread-safe, and safe
// between processes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "image/digest.h"
#include "tree/blob_store.h"

namespace nixery::tree {

inline constexpr std::size_t largest_original = 256u << 20;  // bytes

// Does nothing if a valid copy exists, or if `bytes` are larger than largest_original. Throws Error{storage}.
void keep_original(const BlobStore& store, const image::Digest& digest, std::string_view bytes);

std::optional<std::string> read_original(const BlobStore& store, const image::Digest& digest);

}  // namespace nixery::tree
