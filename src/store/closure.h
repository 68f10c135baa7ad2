// A closure: store paths with their sizes and references, closed under reference.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/store_path.h"

namespace nixery::store {

struct PathInfo {
  StorePath path;
  std::string nar_hash;                   // 64 hex: SHA-256 of the path's NAR
  std::uint64_t nar_size = 0;             // bytes of the NAR; approximates the size of the files
  std::vector<std::uint32_t> references;  // indices into Closure::paths, ascending, never the path itself
};

struct Closure {
  std::vector<PathInfo> paths;  // ascending by path; every reference is inside
  std::uint64_t nar_size() const;
};

// Reads the registration records that `nix-store --dump-db` prints (the same from Nix 1 to 2.34): path, NAR hash, NAR
// size, deriver, number of references, references, a line each. References to paths without a record and
// self-references are left out. Throws Error{unavailable} if the text is truncated or malformed.
Closure parse_dump_db(std::string_view text);

}  // namespace nixery::store
