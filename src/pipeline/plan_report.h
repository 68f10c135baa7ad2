// What an image would hold and why, before it is built: what `nixery plan` and the web page show.
#pragma once

#include <cstddef>
#include <limits>
#include <stop_token>
#include <string>
#include <vector>

#include "nix/nix.h"
#include "pipeline/image_pipeline.h"
#include "tree/tree.h"

namespace nixery::pipeline {

struct PlanReport {
  ResolvedImage image;
  nix::Missing missing;       // what nix would have to build or fetch
  LayeredClosure layered;     // empty unless missing.complete()
  std::vector<bool> in_tree;  // of each of layered.layers
};

PlanReport report_plan(const ImagePipeline& pipeline, const tree::Tree& tree, ResolvedImage image,
                       const std::stop_token& stop);

// Keys in a fixed order. Lists of what is missing are cut off after `most` entries; the counts beside them are not.
std::string to_json(const PlanReport& report, std::size_t most = std::numeric_limits<std::size_t>::max());

}  // namespace nixery::pipeline
