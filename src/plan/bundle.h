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

// What is known of each vertex, by number.
struct Weights {
  std::vector<std::uint64_t> size;        // bytes
  std::vector<std::uint64_t> popularity;  // where bundles overlap, the one with the more popular head takes first
};

// Bundles of at least `enough` bytes, or half of that where others took the rest, of the vertices that are `eligible`.
// No path is in two bundles; paths may be in none.
std::vector<Bundle> find_bundles(const Graph& graph, const Weights& weights, const std::vector<bool>& eligible,
                                 std::uint64_t enough);

}  // namespace nixery::plan
