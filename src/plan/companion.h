// Paths that, by what is known of other images, come together: for plans of few layers.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/graph.h"

namespace nixery::plan {

// A path of this size or more joins no other: it is too much to be pulled again for another's change.
inline constexpr std::uint64_t companion_size = 8u << 20;  // bytes of NAR

// Puts each vertex with a user of it, a path that refers to it, whose popularity is at least nine tenths of its own:
// who has the one has the other. Of several such users, with the most popular. `size` and `popularity` are by vertex;
// where the latter is 0, nothing is known.
// Every vertex is in exactly one group; vertices ascend in a group, and groups by their last vertex, which brings the
// others.
std::vector<std::vector<Vertex>> find_companions(const Graph& graph, const std::vector<std::uint64_t>& size,
                                                 const std::vector<std::uint64_t>& popularity);

}  // namespace nixery::plan
