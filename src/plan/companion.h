// Groups paths that popularity data shows to occur together: for plans of few layers.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/graph.h"

namespace nixery::plan {

// A path of this size or more joins no group: it is too large to be pulled again when another path changes.
inline constexpr std::uint64_t companion_size = 8u << 20;  // bytes of NAR

// Groups each vertex with the most popular of its users (paths that refer to it) that have at least nine tenths of its
// popularity: images that hold the one then hold the other. `size` and `popularity` are by vertex; popularity 0 means
// unknown. Every vertex is in exactly one group. Vertices ascend within a group; groups ascend by their last vertex,
// whose closure brings the others.
std::vector<std::vector<Vertex>> find_companions(const Graph& graph, const std::vector<std::uint64_t>& size,
                                                 const std::vector<std::uint64_t>& popularity);

}  // namespace nixery::plan
