#include "plan/companion.h"

#include <algorithm>

namespace nixery::plan {

std::vector<std::vector<Vertex>> find_companions(const Graph& graph, const std::vector<std::uint64_t>& size,
                                                 const std::vector<std::uint64_t>& popularity) {
  const std::size_t count = graph.size();
  std::vector<Vertex> joins(count);  // the user that a vertex goes with, or itself
  for (Vertex v = 0; v < count; ++v) joins[v] = v;
  for (Vertex user = 0; user < count; ++user)
    for (const Vertex v : graph.references[user]) {
      if (size[v] >= companion_size || popularity[v] == 0) continue;
      if (popularity[user] < popularity[v] - popularity[v] / 10) continue;
      if (joins[v] == v || popularity[user] > popularity[joins[v]]) joins[v] = user;
    }

  // Users have larger numbers, so going down, each vertex finds the group of its user complete.
  std::vector<std::vector<Vertex>> groups(count);  // by the vertex that brings the others
  for (Vertex v = static_cast<Vertex>(count); v-- > 0;) {
    joins[v] = joins[joins[v]];
    groups[joins[v]].push_back(v);
  }
  std::erase_if(groups, [](const auto& group) { return group.empty(); });
  for (auto& group : groups) std::reverse(group.begin(), group.end());
  return groups;
}

}  // namespace nixery::plan
