// Small paths that come together wherever one of them comes: groups that other images form, too.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/graph.h"

namespace nixery::plan {

struct Bundle {
  Vertex head;                  // the path that brings the others
  std::vector<Vertex> members;  // ascending; the head itself only where it is eligible
  std::uint64_t nar_size = 0;
};

// Bundles of at least `enough` bytes, or half of that where others took the rest, of the vertices that are `eligible`.
// `size` is in bytes, by vertex. No path is in two bundles; paths may be in none.
std::vector<Bundle> find_bundles(const Graph& graph, const std::vector<std::uint64_t>& size,
                                 const std::vector<bool>& eligible, std::uint64_t enough);

}  // namespace nixery::plan
