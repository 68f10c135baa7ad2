#include "plan/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "plan/bundle.h"
#include "plan/companion.h"
#include "plan/graph.h"

namespace nixery::plan {

namespace {

// A candidate for a layer.
struct Group {
  std::vector<Vertex> members;  // ascending
  std::uint64_t nar_size = 0;
  std::uint64_t worth = 0;  // decides which groups keep a layer if there are too many
  std::string reason;
  bool intrinsic = false;
  bool left_over = false;
};

// The best measured values (tests/bench/sharing) for many layers and for few.
struct Measure {
  std::uint64_t unit_size;  // bytes
  std::size_t left_over;    // layers for the left-over paths if there are more groups than layers
};

constexpr std::size_t few_layers = 30;                  // less than this counts as few
constexpr std::uint64_t left_over_size = 3u << 19;      // least bytes of a left-over layer
constexpr std::uint64_t least_companions = 256u << 10;  // bytes: a smaller group counts as left over

Measure measure_for(std::size_t max_layers) {
  // With few layers, each left-over layer takes the place of a shared one.
  if (max_layers < few_layers) return {2u << 20, 1};
  return {256u << 10, max_layers / 8};
}

std::string human(std::uint64_t bytes) {
  if (bytes >= 10'000'000) return fmt::format("{} MB", (bytes + 500'000) / 1'000'000);
  if (bytes < 100'000) return fmt::format("{} kB", (bytes + 500) / 1'000);
  const std::uint64_t tenths = (bytes + 50'000) / 100'000;
  return fmt::format("{}.{} MB", tenths / 10, tenths % 10);
}

// FNV-1a, then MurmurHash3's finalizer: names often differ in their last letter only, which FNV-1a leaves in low bits.
// Not std::hash, because every host must compute the same value.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdu;
  hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53u;
  return hash ^ hash >> 33;
}

class Planner {
 public:
  Planner(const store::Closure& closure, const Settings& settings)
      : closure_(closure),
        graph_(make_graph(closure)),
        most_(std::max(settings.max_layers, 1u)),
        measure_(measure_for(most_)),
        knows_popularity_(!settings.popularity.empty()) {
    if (settings.unit_size > 0) measure_.unit_size = settings.unit_size;
    for (const std::uint32_t path : graph_.path) {
      const store::PathInfo& info = closure.paths[path];
      size_.push_back(info.nar_size);
      const auto at = settings.popularity.find(std::string(package_name(info.path.name())));
      popularity_.push_back(at == settings.popularity.end() ? 0 : at->second);
    }
  }

  std::vector<Layer> plan() const {
    std::vector<Group> groups;
    if (knows_popularity_ && most_ < few_layers) {
      add_companions(groups);
    } else {
      add_alone(groups);
      add_bundles(groups);
    }
    if (groups.size() >= most_) select(groups);
    if (const std::vector<Vertex> left = outside(groups); !left.empty()) fill(left, most_ - groups.size(), groups);
    std::sort(groups.begin(), groups.end(),
              [](const Group& a, const Group& b) { return a.members.back() < b.members.back(); });
    return layers_of(groups);
  }

 private:
  std::string_view name(Vertex v) const { return closure_.paths[graph_.path[v]].path.name(); }

  bool small(Vertex v) const { return size_[v] / 2 < measure_.unit_size; }

  void add_alone(std::vector<Group>& groups) const {
    for (Vertex v = 0; v < graph_.size(); ++v)
      if (!small(v)) groups.push_back(group_of({v}, v, true));
  }

  void add_bundles(std::vector<Group>& groups) const {
    std::vector<bool> eligible(graph_.size());
    for (Vertex v = 0; v < graph_.size(); ++v) eligible[v] = small(v);
    for (Bundle& bundle : find_bundles(graph_, size_, eligible, measure_.unit_size))
      groups.push_back(group_of(std::move(bundle.members), bundle.head, true));
  }

  // A group is intrinsic only if it is a single path: a smaller closure may lack some of several.
  void add_companions(std::vector<Group>& groups) const {
    for (auto& members : find_companions(graph_, size_, popularity_)) {
      const Vertex head = members.back();
      Group group = group_of(std::move(members), head, false);
      group.intrinsic = group.members.size() == 1 && size_[head] >= companion_size;
      if (group.nar_size >= least_companions) groups.push_back(std::move(group));
    }
  }

  Group group_of(std::vector<Vertex> members, Vertex head, bool intrinsic) const {
    Group group{std::move(members), 0, 0, {}, intrinsic, false};
    for (const Vertex v : group.members) group.nar_size += size_[v];
    group.worth = worth(group);
    group.reason = explain(group, head);
    return group;
  }

  // Half of a group's worth is its size. The other half depends on sharing: nothing if no other image is likely to hold
  // the group, all of it if many are. Sharing counts only half because a fleet also pulls updates of unshared layers.
  std::uint64_t worth(const Group& group) const {
    if (!knows_popularity_) return group.nar_size;
    std::uint64_t users = 0;
    for (const Vertex v : group.members) users = std::max(users, popularity_[v]);
    return group.nar_size - group.nar_size / 2 / (users < UINT64_MAX ? users + 1 : users);
  }

  std::string explain(const Group& group, Vertex head) const {
    const std::string size = human(group.nar_size);
    const bool has_head = group.members.back() == head;
    const std::size_t others = group.members.size() - (has_head ? 1 : 0);
    if (others == 0) return fmt::format("alone: {}", size);
    const char* noun = others == 1 ? "path" : "paths";
    if (has_head) return fmt::format("{} with {} {} that it needs: {}", name(head), others, noun, size);
    return fmt::format("{} {} that {} needs: {}", others, noun, name(head), size);
  }

  // Keeps the groups of most worth and reserves layers for the left-over paths.
  void select(std::vector<Group>& groups) const {
    std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
      return a.worth != b.worth ? a.worth > b.worth : a.members < b.members;
    });
    groups.resize(most_ - measure_.left_over);
  }

  std::vector<Vertex> outside(const std::vector<Group>& groups) const {
    std::vector<bool> placed(graph_.size());
    for (const Group& group : groups)
      for (const Vertex v : group.members) placed[v] = true;
    std::vector<Vertex> left;
    for (Vertex v = 0; v < graph_.size(); ++v)
      if (!placed[v]) left.push_back(v);
    return left;
  }

  // A range of the left-over paths.
  struct Part {
    std::size_t begin, end;
    std::uint64_t nar_size;
    std::size_t cut;  // index at which it would be cut in two; `begin`: not at all
  };

  // Cuts `left` into at most `count` parts, always the largest next. A part is cut before the path whose package name
  // has the smallest hash in the middle half of its bytes. So a change moves few cuts; counting bytes from one end
  // would move all cuts behind the change.
  std::vector<Part> cut(const std::vector<Vertex>& left, std::size_t count) const {
    std::vector<std::uint64_t> hash, offset{0};
    for (const Vertex v : left) {
      hash.push_back(hash_of(package_name(name(v))));
      offset.push_back(offset.back() + size_[v]);
    }
    const auto part_of = [&](std::size_t begin, std::size_t end) {
      Part part{begin, end, offset[end] - offset[begin], begin};
      const std::uint64_t margin = std::max(left_over_size, part.nar_size / 4);
      for (std::size_t i = begin + 1; i < end; ++i) {
        if (offset[i] - offset[begin] < margin || offset[end] - offset[i] < margin) continue;
        if (part.cut == begin || hash[i] < hash[part.cut]) part.cut = i;
      }
      return part;
    };
    const auto to_cut = [](const Part& part) { return part.cut == part.begin ? 0 : part.nar_size; };

    std::vector<Part> parts{part_of(0, left.size())};
    while (parts.size() < count) {
      const auto largest = std::max_element(parts.begin(), parts.end(),
                                            [&](const Part& a, const Part& b) { return to_cut(a) < to_cut(b); });
      if (to_cut(*largest) == 0) break;
      const Part second = part_of(largest->cut, largest->end);
      *largest = part_of(largest->begin, largest->cut);
      parts.insert(largest + 1, second);
    }
    return parts;
  }

  // At most `count` groups, in the order of the vertices.
  void fill(const std::vector<Vertex>& left, std::size_t count, std::vector<Group>& groups) const {
    for (const Part& part : cut(left, count)) {
      Group& group = groups.emplace_back();
      for (std::size_t i = part.begin; i < part.end; ++i) group.members.push_back(left[i]);
      group.nar_size = part.nar_size;
      group.left_over = true;
      group.reason = group.members.size() == graph_.size()
                         ? fmt::format("everything: {}", human(group.nar_size))
                         : fmt::format("{} left over, {} to {}: {}", group.members.size(), name(group.members.front()),
                                       name(group.members.back()), human(group.nar_size));
    }
  }

  std::vector<Layer> layers_of(const std::vector<Group>& groups) const {
    std::vector<Layer> layers;
    for (const Group& group : groups) {
      Layer layer{{}, group.nar_size, group.reason, group.intrinsic, group.left_over};
      for (const Vertex v : group.members) layer.paths.push_back(graph_.path[v]);
      std::sort(layer.paths.begin(), layer.paths.end());
      layers.push_back(std::move(layer));
    }
    return layers;
  }

  const store::Closure& closure_;
  const Graph graph_;
  const std::size_t most_;  // layers
  Measure measure_;
  const bool knows_popularity_;
  std::vector<std::uint64_t> size_, popularity_;  // by vertex
};

}  // namespace

std::vector<Layer> plan_layers(const store::Closure& closure, const Settings& settings) {
  return Planner(closure, settings).plan();
}

}  // namespace nixery::plan
