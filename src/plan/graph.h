// A closure's paths as numbers, in an order that is the same in every image.
#pragma once

#include <cstdint>
#include <vector>

#include "store/closure.h"

namespace nixery::plan {

using Vertex = std::uint32_t;

// Vertices are numbered by the size of their own closure, then by name: paths with few dependencies come first, and
// every reference points to a smaller number. Both are the same in every image that holds the path. Hashes only break
// ties between paths of the same name and size.
struct Graph {
  std::vector<std::uint32_t> path;              // vertex -> index into Closure::paths
  std::vector<std::vector<Vertex>> references;  // ascending; references that close a cycle are left out
  std::vector<std::uint32_t> closure_size;      // how many paths it needs, itself included; ascending

  std::size_t size() const { return path.size(); }
};

Graph make_graph(const store::Closure& closure);

}  // namespace nixery::plan
