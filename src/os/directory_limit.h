// Limits a cache directory to a number of files and bytes.
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

// Removes the files that were modified longest ago until `directory` is within `limit`, and returns how many. Files
// with a time in the future (from a wrong clock) are removed first. Files for which `in_use` (may be empty) is true are
// kept. Directories and names that begin with a dot are kept and do not count.
//
// One lstat() for each file. Never throws: what cannot be listed or removed is left. Several processes may run it on
// one directory.
std::size_t enforce_limit(const std::filesystem::path& directory, DirectoryLimit limit,
                          const std::function<bool(const std::filesystem::path&)>& in_use = {});

}  // namespace nixery::os
