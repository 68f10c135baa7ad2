#include "plan/bundle.h"

#include <algorithm>

namespace nixery::plan {

namespace {

// Bounds the work on a closure of very many tiny paths; bundles of real closures stay far below.
constexpr std::size_t most_members = 512;

// A growable set of heads, by index in order of appearance.
class HeadSet {
 public:
  void insert(std::uint32_t head) {
    if (words_.size() <= head / 64) words_.resize(head / 64 + 1);
    words_[head / 64] |= std::uint64_t{1} << (head % 64);
  }
  void insert(const HeadSet& other) {
    if (words_.size() < other.words_.size()) words_.resize(other.words_.size());
    for (std::size_t i = 0; i < other.words_.size(); ++i) words_[i] |= other.words_[i];
  }
  bool contains(std::uint32_t head) const {
    return head / 64 < words_.size() && (words_[head / 64] >> (head % 64) & 1) != 0;
  }

 private:
  std::vector<std::uint64_t> words_;
};

// Walks upwards from the leaves. A path gathers the eligible paths below it that no head below it has gathered; with
// enough of them it becomes a head, and the paths above it start with an empty set. This depends on the path's own
// closure only.
std::vector<Bundle> gather(const Graph& graph, const std::vector<std::uint64_t>& size,
                           const std::vector<bool>& eligible, std::uint64_t enough) {
  std::vector<Bundle> candidates;
  std::vector<HeadSet> heads_below(graph.size());               // and the vertex itself, if it is one
  std::vector<std::vector<Vertex>> gathered(graph.size());      // empty for a head
  std::vector<std::vector<std::uint32_t>> taken(graph.size());  // heads that have gathered this vertex
  std::vector<Vertex> last_seen_by(graph.size(), static_cast<Vertex>(graph.size()));

  std::vector<Vertex> last_user(graph.size());
  for (Vertex v = 0; v < graph.size(); ++v)
    for (const Vertex reference : graph.references[v]) last_user[reference] = v;

  for (Vertex v = 0; v < graph.size(); ++v) {
    HeadSet& heads = heads_below[v];
    for (const Vertex reference : graph.references[v]) heads.insert(heads_below[reference]);

    Bundle bundle{v, {}, 0};
    const auto gather_one = [&](Vertex member) {
      if (last_seen_by[member] == v) return;
      last_seen_by[member] = v;
      const auto brought = [&](std::uint32_t head) { return heads.contains(head); };
      if (std::any_of(taken[member].begin(), taken[member].end(), brought)) return;
      bundle.members.push_back(member);
      bundle.nar_size += size[member];
    };
    for (const Vertex reference : graph.references[v])
      for (const Vertex member : gathered[reference]) gather_one(member);
    if (eligible[v]) gather_one(v);

    for (const Vertex reference : graph.references[v])
      if (last_user[reference] == v) gathered[reference] = {};

    if (bundle.members.size() < most_members && (bundle.nar_size < enough || bundle.members.empty())) {
      gathered[v] = std::move(bundle.members);
      continue;
    }
    const auto head = static_cast<std::uint32_t>(candidates.size());
    heads.insert(head);
    for (const Vertex member : bundle.members) taken[member].push_back(head);
    candidates.push_back(std::move(bundle));
  }
  return candidates;
}

}  // namespace

std::vector<Bundle> find_bundles(const Graph& graph, const std::vector<std::uint64_t>& size,
                                 const std::vector<bool>& eligible, std::uint64_t enough) {
  std::vector<Bundle> bundles;
  std::vector<bool> placed(graph.size());
  for (Bundle& bundle : gather(graph, size, eligible, enough)) {
    std::erase_if(bundle.members, [&](Vertex member) { return placed[member]; });
    bundle.nar_size = 0;
    for (const Vertex member : bundle.members) bundle.nar_size += size[member];
    // Half the size is still worth a layer. Smaller ones are left to later bundles and the left-over layers.
    if (bundle.nar_size < enough - enough / 2 || bundle.members.empty()) continue;
    for (const Vertex member : bundle.members) placed[member] = true;
    std::sort(bundle.members.begin(), bundle.members.end());
    bundles.push_back(std::move(bundle));
  }
  return bundles;
}

}  // namespace nixery::plan
