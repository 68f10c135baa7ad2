// Which store paths travel together: closure -> layers. A pure function of its arguments; the same closure and
// settings give the same plan on every host and in every process.
//
// A client fetches a layer again unless it holds exactly the same paths, and each image is planned from its own
// closure alone. So a layer pays only if other images, and the next revision of this one, come to the same group:
//
//   1. A path of at least twice the unit size is a layer of its own.
//   2. Smaller paths travel in bundles (bundle.h): a path together with those small paths below it that no bundle below
//      it brings already, as soon as they reach the unit size. Which paths are candidates depends on nothing but
//      the path's own closure, which is the same in every image that holds it.
//   3. Where these are too many, the largest stay. If popularity is given, a group without known users counts
//      half its size, one that many use nearly all of it.
//   4. What is left over is filled into layers of some megabytes, in the order of closure size, so that what a change
//      pulls along lies together. It is halved again and again, each time before a path that the hash of its package
//      name chooses: one path more, or of another size, moves few cuts. Where every layer is taken, at least one is of
//      this kind: further content of an image goes into a layer that is hardly shared anyway.
//
// The unit size is small where there is room for many layers: then a change of one path pulls little else along. Where
// there are few (below 30), it is large; and if popularity is given, companions (companion.h) take the place of 1 and
// 2: it shows what a closure cannot, that two paths always come together.
//
// Versions and the hashes in store paths decide nothing but ties, so an update leaves the grouping as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan/popularity.h"
#include "store/closure.h"

namespace nixery::plan {

// A number that goes into the key of every image: raise it when the same input would give another plan.
inline constexpr int planner_version = 5;

struct Settings {
  unsigned max_layers = 100;    // at least 1
  std::uint64_t unit_size = 0;  // bytes of NAR that are worth one more request; 0: what measured best for max_layers
  Popularity popularity;        // package name -> count of users; may be empty; see rule 3
};

struct Layer {
  std::vector<std::uint32_t> paths;  // indices into Closure::paths, ascending, never empty
  std::uint64_t nar_size = 0;
  std::string reason;  // for a person: "alone: 41 MB", "krb5-1.20 with 3 paths that it needs: 1.9 MB"
  // By rules 1 and 2: nearly every larger closure that holds these paths has this layer too, if it has room for it.
  bool intrinsic = false;
  bool left_over = false;  // by rule 4
};

// Every path of the closure is in exactly one layer. What was asked for decides nothing: a group that depended on it
// would be shared less. Layers come in a stable order, what changes least first.
std::vector<Layer> plan_layers(const store::Closure& closure, const Settings& settings);

}  // namespace nixery::plan
