// Several directory trees united into one of symlinks: the part of rootfs.h that knows about conflicts.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "layer/rootfs.h"

namespace nixery::layer {

struct Union {
  std::map<std::string, Entry> entries;  // by name, without slashes at the ends
  std::vector<Conflict> conflicts;
};

// `packages` in order of precedence; `real_directories` are never symlinks. See rootfs.h for the rules.
Union unite(const std::filesystem::path& root, const std::vector<PackageOutput>& packages,
            const std::set<std::string>& real_directories);

}  // namespace nixery::layer
