#include "plan/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "plan/bundle.h"
#include "plan/graph.h"

namespace nixery::plan {

namespace {

// A layer in the making.
struct Group {
  std::vector<Vertex> members;  // ascending
  std::uint64_t nar_size = 0;
  std::uint64_t worth = 0;  // who keeps a layer where there are too many groups
  std::string reason;
  bool intrinsic = false;
};

std::string human(std::uint64_t bytes) {
  if (bytes >= 10'000'000) return fmt::format("{} MB", (bytes + 500'000) / 1'000'000);
  if (bytes < 100'000) return fmt::format("{} kB", (bytes + 500) / 1'000);
  const std::uint64_t tenths = (bytes + 50'000) / 100'000;
  return fmt::format("{}.{} MB", tenths / 10, tenths % 10);
}

class Planner {
 public:
  Planner(const store::Closure& closure, const Settings& settings)
      : closure_(closure), settings_(settings), graph_(make_graph(closure)) {
    for (const std::uint32_t path : graph_.path) {
      const store::PathInfo& info = closure.paths[path];
      weights_.size.push_back(info.nar_size);
      const auto at = settings.popularity.find(std::string(package_name(info.path.name())));
      weights_.popularity.push_back(at == settings.popularity.end() ? 0 : at->second);
    }
    find_specific();
  }

  std::vector<Layer> plan() const {
    std::vector<Group> groups = stable_groups();
    const std::size_t most = std::max(settings_.max_layers, 1u);
    if (groups.size() > most || (groups.size() == most && !outside(groups).empty())) groups = select(groups, most);
    if (const std::vector<Vertex> left = outside(groups); !left.empty()) fill(left, most - groups.size(), groups);
    std::sort(groups.begin(), groups.end(),
              [](const Group& a, const Group& b) { return a.members.back() < b.members.back(); });
    return layers_of(groups);
  }

 private:
  const store::PathInfo& info(Vertex v) const { return closure_.paths[graph_.path[v]]; }

  // What nothing needs, or only something that nothing needs: the packages asked for, and what comes with just one.
  void find_specific() {
    std::vector<std::uint32_t> users(graph_.size()), last_user(graph_.size());
    for (Vertex v = 0; v < graph_.size(); ++v)
      for (const Vertex reference : graph_.references[v]) {
        ++users[reference];
        last_user[reference] = v;
      }
    specific_.resize(graph_.size());
    for (Vertex v = 0; v < graph_.size(); ++v)
      specific_[v] = users[v] == 0 || (users[v] == 1 && users[last_user[v]] == 0);
  }

  // Half of a group's worth is its size, the other half what sharing makes of it: nothing where no other image is
  // likely to hold it, all where many are. Half only, for a fleet also pulls updates of what it does not share.
  std::uint64_t worth(std::uint64_t nar_size, const std::vector<Vertex>& members) const {
    std::uint64_t users = 0;
    if (settings_.popularity.empty()) {
      if (!specific_[members.back()]) return nar_size;
    } else {
      for (const Vertex v : members) users = std::max(users, weights_.popularity[v]);
    }
    return nar_size - nar_size / 2 / (users < UINT64_MAX ? users + 1 : users);
  }

  // Paths alone, and bundles: what other images group in the same way.
  std::vector<Group> stable_groups() const {
    std::vector<Group> groups;
    std::vector<bool> small(graph_.size());
    for (Vertex v = 0; v < graph_.size(); ++v) {
      const std::uint64_t size = weights_.size[v];
      small[v] = size < settings_.own_layer_size;
      if (!small[v]) groups.push_back({{v}, size, worth(size, {v}), fmt::format("alone: {}", human(size))});
    }
    add_bundles(find_bundles(graph_, weights_, small, settings_.own_layer_size), groups);
    for (Group& group : groups) group.intrinsic = true;
    return groups;
  }

  void add_bundles(std::vector<Bundle> bundles, std::vector<Group>& groups) const {
    for (Bundle& bundle : bundles) {
      std::string reason = explain(bundle);
      const std::uint64_t value = worth(bundle.nar_size, bundle.members);
      groups.push_back({std::move(bundle.members), bundle.nar_size, value, std::move(reason)});
    }
  }

  // Fewer groups than `most`, with room for what this leaves over.
  std::vector<Group> select(std::vector<Group> groups, std::size_t most) const {
    // Few layers for what is left over: each one is a shared layer less. 1 of 20 and 4 of 100 measured best.
    const std::size_t limit = most - std::max<std::size_t>(1, most / 24);
    std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
      return a.worth != b.worth ? a.worth > b.worth : a.members < b.members;
    });
    const std::size_t coarse = groups.size() > 5 * most ? most / 10 : 0;
    std::vector<Group> kept(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(limit - coarse));
    if (coarse > 0) add_bundles(coarse_bundles(kept, coarse), kept);
    // Coarse bundles may be fewer than there was room for: more of the groups that they did not touch.
    std::vector<bool> placed = members_of(kept);
    for (std::size_t i = limit - coarse; i < groups.size() && kept.size() < limit; ++i) {
      const auto& members = groups[i].members;
      if (std::any_of(members.begin(), members.end(), [&](Vertex v) { return placed[v]; })) continue;
      kept.push_back(std::move(groups[i]));
    }
    return kept;
  }

  // At most `most` bundles, of a size that would let so many hold all the rest.
  std::vector<Bundle> coarse_bundles(const std::vector<Group>& kept, std::size_t most) const {
    std::vector<bool> rest = members_of(kept);
    rest.flip();
    std::uint64_t bytes = 0;
    for (Vertex v = 0; v < graph_.size(); ++v)
      if (rest[v]) bytes += weights_.size[v];
    std::vector<Bundle> bundles =
        find_bundles(graph_, weights_, rest, std::max(settings_.own_layer_size, bytes / most));
    std::sort(bundles.begin(), bundles.end(), [](const Bundle& a, const Bundle& b) {
      return a.nar_size != b.nar_size ? a.nar_size > b.nar_size : a.head < b.head;
    });
    if (bundles.size() > most) bundles.resize(most);
    return bundles;
  }

  std::string explain(const Bundle& bundle) const {
    const std::string_view head = info(bundle.head).path.name();
    const std::size_t others = bundle.members.size() - (bundle.members.back() == bundle.head ? 1 : 0);
    const std::string size = human(bundle.nar_size);
    if (others == 0) return fmt::format("{}: {}", head, size);
    const char* noun = others == 1 ? "path" : "paths";
    if (others < bundle.members.size()) return fmt::format("{} with {} {} that it needs: {}", head, others, noun, size);
    return fmt::format("{} {} that {} needs: {}", others, noun, head, size);
  }

  std::vector<bool> members_of(const std::vector<Group>& groups) const {
    std::vector<bool> placed(graph_.size());
    for (const Group& group : groups)
      for (const Vertex v : group.members) placed[v] = true;
    return placed;
  }

  std::vector<Vertex> outside(const std::vector<Group>& groups) const {
    const std::vector<bool> placed = members_of(groups);
    std::vector<Vertex> left;
    for (Vertex v = 0; v < graph_.size(); ++v)
      if (!placed[v]) left.push_back(v);
    return left;
  }

  // At most `count` groups of about the same size, in the order of the vertices.
  void fill(const std::vector<Vertex>& left, std::size_t count, std::vector<Group>& groups) const {
    std::uint64_t bytes = 0;
    for (const Vertex v : left) bytes += weights_.size[v];
    const std::uint64_t enough = std::max(settings_.min_layer_size, bytes / count + 1);
    const std::size_t first = groups.size();
    for (const Vertex v : left) {
      // Where too little for a layer remains, it goes along with the last.
      const bool full = groups.size() > first && groups.back().nar_size >= enough;
      if (groups.size() == first || (full && bytes >= settings_.min_layer_size)) groups.push_back({});
      groups.back().members.push_back(v);
      groups.back().nar_size += weights_.size[v];
      bytes -= weights_.size[v];
    }
    for (std::size_t i = first; i < groups.size(); ++i)
      groups[i].reason = fmt::format("{} left over, {} to {}: {}", groups[i].members.size(),
                                     info(groups[i].members.front()).path.name(),
                                     info(groups[i].members.back()).path.name(), human(groups[i].nar_size));
  }

  std::vector<Layer> layers_of(const std::vector<Group>& groups) const {
    std::vector<Layer> layers;
    for (const Group& group : groups) {
      Layer layer{{}, group.nar_size, group.reason, group.intrinsic};
      for (const Vertex v : group.members) layer.paths.push_back(graph_.path[v]);
      std::sort(layer.paths.begin(), layer.paths.end());
      layers.push_back(std::move(layer));
    }
    return layers;
  }

  const store::Closure& closure_;
  const Settings& settings_;
  const Graph graph_;
  Weights weights_;
  std::vector<bool> specific_;  // by vertex
};

}  // namespace

std::vector<Layer> plan_layers(const store::Closure& closure, const std::vector<std::uint32_t>&,
                               const Settings& settings) {
  return Planner(closure, settings).plan();
}

}  // namespace nixery::plan
