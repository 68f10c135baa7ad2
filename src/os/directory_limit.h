// Keeps a directory of files that can be made again within a number of files and bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>

namespace nixery::os {

struct DirectoryLimit {
  std::size_t files;
  std::uint64_t bytes;
};

// Removes the files that were modified longest ago until `directory` is within `limit`, and returns how many. A time in
// the future comes from a clock that was wrong: such files go first. Files for which `in_use` (may be empty) is true
// stay, and so do directories and names that begin with a dot, which do not count.
//
// One lstat() a file. Never throws: what cannot be listed or removed is left. Safe beside others that do the same.
std::size_t enforce_limit(const std::filesystem::path& directory, DirectoryLimit limit,
                          const std::function<bool(const std::filesystem::path&)>& in_use = {});

}  // namespace nixery::os
