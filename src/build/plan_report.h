// What an image would hold and why, before it is built: what `nixery plan` and the web page show.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "build/road.h"
#include "nix/nix.h"
#include "tree/tree.h"

namespace nixery::build {

struct PlanReport {
  ResolvedImage image;
  nix::Missing missing;       // what nix would have to build or fetch
  LayeredClosure layered;     // empty unless missing.complete()
  std::vector<bool> in_tree;  // of each of layered.layers
};

PlanReport report_plan(const Road& road, const tree::Tree& tree, ResolvedImage image, const std::atomic<bool>* stop);

// Keys in a fixed order. Lists of what is missing are cut off after `most` entries; the counts beside them are not.
std::string to_json(const PlanReport& report, std::size_t most = std::numeric_limits<std::size_t>::max());

}  // namespace nixery::build
