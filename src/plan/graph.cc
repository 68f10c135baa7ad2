#include "plan/graph.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <tuple>
#include <utility>

#include "plan/popularity.h"

namespace nixery::plan {

namespace {

using Numbers = std::vector<std::uint32_t>;

Numbers by_name(const store::Closure& closure) {
  Numbers order(closure.paths.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto key = [&](std::uint32_t i) {
    const store::PathInfo& info = closure.paths[i];
    return std::tuple(package_name(info.path.name()), info.path.name(), info.nar_size, info.path.hash_part());
  };
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
  return order;
}

// Dependencies first, by depth-first search in the order of names. Nix's own paths form no cycle; if a dump has one,
// the reference that closes it points to a later path.
Numbers dependencies_first(const store::Closure& closure, const Numbers& starts) {
  Numbers order;
  order.reserve(starts.size());
  std::vector<bool> seen(starts.size());
  std::vector<std::pair<std::uint32_t, std::size_t>> stack;  // a path, and how many of its references are done
  const auto enter = [&](std::uint32_t path) {
    if (!seen[path]) stack.emplace_back(path, 0);
    seen[path] = true;
  };
  for (const std::uint32_t start : starts) {
    enter(start);
    while (!stack.empty()) {
      const std::uint32_t path = stack.back().first;
      const auto& references = closure.paths[path].references;
      if (stack.back().second < references.size()) {
        enter(references[stack.back().second++]);
      } else {
        order.push_back(path);
        stack.pop_back();
      }
    }
  }
  return order;
}

Numbers inverse(const Numbers& order) {
  Numbers position(order.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) position[order[i]] = i;
  return position;
}

// Computes 64 columns of the reachability matrix at a time: exact, with little memory.
Numbers closure_sizes(const store::Closure& closure, const Numbers& order) {
  const Numbers position = inverse(order);
  Numbers sizes(order.size());
  std::vector<std::uint64_t> reached(order.size());
  for (std::uint32_t column = 0; column < order.size(); column += 64) {
    for (std::uint32_t i = column; i < order.size(); ++i) {  // earlier paths reach none of these columns
      const std::uint32_t path = order[i];
      std::uint64_t bits = i - column < 64 ? std::uint64_t{1} << (i - column) : 0;
      for (const std::uint32_t reference : closure.paths[path].references)
        if (position[reference] >= column && position[reference] < i) bits |= reached[position[reference]];
      reached[i] = bits;
      sizes[path] += static_cast<std::uint32_t>(std::popcount(bits));
    }
  }
  return sizes;
}

}  // namespace

Graph make_graph(const store::Closure& closure) {
  Graph graph;
  const Numbers names = by_name(closure);
  const Numbers order = dependencies_first(closure, names);
  const Numbers sizes = closure_sizes(closure, order);
  const Numbers depth = inverse(order);

  graph.path = names;
  std::stable_sort(graph.path.begin(), graph.path.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return sizes[a] < sizes[b]; });

  const Numbers vertex = inverse(graph.path);
  graph.references.resize(names.size());
  graph.closure_size.resize(names.size());
  for (Vertex v = 0; v < graph.size(); ++v) {
    const std::uint32_t path = graph.path[v];
    graph.closure_size[v] = sizes[path];
    for (const std::uint32_t reference : closure.paths[path].references)
      if (depth[reference] < depth[path]) graph.references[v].push_back(vertex[reference]);
    std::sort(graph.references[v].begin(), graph.references[v].end());
  }
  return graph;
}

}  // namespace nixery::plan
