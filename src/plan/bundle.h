// Bundles of small paths that always occur together, so that other images form the same groups.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/graph.h"

namespace nixery::plan {

struct Bundle {
  Vertex head;                  // the path whose closure brings the others
  std::vector<Vertex> members;  // ascending; includes the head only if it is eligible
  std::uint64_t nar_size = 0;
};

// Finds bundles of `eligible` vertices. Each has at least `enough` bytes, or half of that if other bundles took the
// rest. `size` is in bytes, by vertex. A path is in at most one bundle.
std::vector<Bundle> find_bundles(const Graph& graph, const std::vector<std::uint64_t>& size,
                                 const std::vector<bool>& eligible, std::uint64_t enough);

}  // namespace nixery::plan
