// Merges several directory trees into one of symlinks: the part of rootfs.h that handles conflicts.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "layer/closure_reader.h"
#include "layer/rootfs.h"

namespace nixery::layer {

// Bytewise by components, as in a walk: ascending by whole names would put "a-b" between "a" and "a/c".
struct InArchiveOrder {
  using is_transparent = void;
  static std::string_view name_of(const Entry& entry) { return entry.name; }
  static std::string_view name_of(std::string_view name) { return name; }
  bool operator()(const auto& a, const auto& b) const { return precedes(name_of(a), name_of(b)); }
  static bool precedes(std::string_view a, std::string_view b);
};
using EntrySet = std::set<Entry, InArchiveOrder>;

struct Union {
  EntrySet entries;
  std::vector<Conflict> conflicts;  // the first 1,000
  std::size_t conflict_count = 0;
};

// `packages` in order of precedence; `real_directories` are never symlinks. See rootfs.h for the rules. Throws
// Error{package_too_large} beyond the limits of `reader`, and if a name in the union is longer than a path can be, or
// all names and link targets take more than 96 MiB.
Union unite(ClosureReader& reader, const std::vector<PackageOutput>& packages,
            const std::set<std::string>& real_directories);

}  // namespace nixery::layer
