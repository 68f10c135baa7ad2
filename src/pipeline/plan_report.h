// A plan of an image before it is built, for `nixery plan` and the web page.
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
  nix::Missing missing;       // paths that Nix would build or fetch
  LayeredClosure layered;     // empty unless missing.complete()
  std::vector<bool> in_tree;  // of each of layered.layers
};

PlanReport report_plan(const ImagePipeline& pipeline, const tree::Tree& tree, ResolvedImage image,
                       const std::stop_token& stop);

// Keys in a fixed order. Lists of missing paths are truncated to `most` entries; their counts are complete.
std::string to_json(const PlanReport& report, std::size_t most = std::numeric_limits<std::size_t>::max());

}  // namespace nixery::pipeline
