// The NAR of a store path (Nix archive; E. Dolstra's thesis, figure 5.2): Nix's database has its size and hash for each
// path (nar_size, nar_hash). NARs are neither written nor read here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "store/store_path.h"

namespace nixery::layer {

// Computes its size while the tree is walked.
class NarSize {
 public:
  NarSize();
  void file(std::uint64_t size, bool executable);
  void symlink(std::uint64_t target_size);
  void directory();
  void entry(std::uint64_t name_size);  // of a directory; before or after the entry itself

  std::uint64_t bytes() const { return bytes_; }

 private:
  std::uint64_t bytes_ = 0;
};

struct Nar {
  std::string hash;        // SHA-256, 64 hex, as PathInfo::nar_hash
  std::uint64_t size = 0;  // bytes, as PathInfo::nar_size
};

// Reads and hashes all of `path`; `root` is the directory with /nix/store. Throws Error{storage} for unreadable files,
// Error{corrupt} for a file that shrank meanwhile. Follows no symlink (store_files.h).
Nar nar_of(const std::filesystem::path& root, const store::StorePath& path);

}  // namespace nixery::layer
