// Plans which store paths share a layer: closure -> layers. A pure function; the same closure and settings give the
// same plan on every host and in every process.
//
// A client fetches a layer again unless it holds exactly the same paths, and each image is planned from its own closure
// alone. So a layer is useful only if other images, and the next revision of this one, form the same group:
//
//   1. A path of at least twice the unit size is a layer of its own.
//   2. Smaller paths form bundles (bundle.h): a path with those small paths of its closure that no lower bundle holds,
//      as soon as they reach the unit size. The candidates depend on the path's own closure only, which is the same
//      in every image that holds it.
//   3. If there are too many groups, the largest stay. With popularity data, a group without known users counts half
//      its size, a widely used group nearly all of it.
//   4. The left-over paths fill layers of some megabytes in the order of closure size, so that paths which change
//      together are adjacent. The sequence is halved repeatedly, each time before a path chosen by the hash of its
//      package name, so that adding or resizing one path moves few cuts. If all layers are used, at least one is of
//      this kind: further content of an image then goes into a layer that is hardly shared anyway.
//
// The unit size is small if many layers are available: then a change of one path causes few other bytes to be pulled.
// With few layers (below 30) it is large, and with popularity data companions (companion.h) replace rules 1 and 2: the
// data shows what a closure cannot, that two paths always occur together.
//
// Versions and store-path hashes only break ties, so an update keeps the grouping.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan/popularity.h"
#include "store/closure.h"

namespace nixery::plan {

// Part of every image's key. Raise it when the same input gives another plan.
inline constexpr int planner_version = 5;

struct Settings {
  unsigned max_layers = 100;    // at least 1
  std::uint64_t unit_size = 0;  // bytes of NAR that are worth one more request; 0: chosen by max_layers
  Popularity popularity;        // package name -> count of users; may be empty; see rule 3
};

struct Layer {
  std::vector<std::uint32_t> paths;  // indices into Closure::paths, ascending, never empty
  std::uint64_t nar_size = 0;
  std::string reason;  // for a person: "alone: 41 MB", "krb5-1.20 with 3 paths that it needs: 1.9 MB"
  // By rules 1 and 2: nearly every larger closure with these paths has this layer too, if layers are left.
  bool intrinsic = false;
  bool left_over = false;  // by rule 4
};

// Every path of the closure is in exactly one layer. The requested packages have no influence: groups that depended on
// them would be shared less. Layers are in a stable order, the least likely to change first.
std::vector<Layer> plan_layers(const store::Closure& closure, const Settings& settings);

}  // namespace nixery::plan
