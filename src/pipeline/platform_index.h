// One name for several platforms: an index whose members are built side by side, from one revision.
#pragma once

#include <stop_token>
#include <string_view>

#include "pipeline/build_log.h"
#include "pipeline/image_pipeline.h"

namespace nixery::pipeline {

// Begins the key of an index's annotation that says why a platform is not in it: "io.nixery.left-out.arm64".
inline constexpr std::string_view left_out_annotation = "io.nixery.left-out.";

// Builds the reference, which names no platform, for each of the pipeline's and publishes the index of what came of it.
// A platform for which it cannot be built is left out. Where none is left, throws the first one's Error; throws any
// transient Error and any timed_out, as what may succeed later must not be missing for ever.
BuiltImage build_index(const ImagePipeline& pipeline, const tree::Tree& tree, const reference::Reference& reference,
                       const nix::PinnedSource& source, Progress& progress, const BuildLog& log,
                       const std::stop_token& stop);

}  // namespace nixery::pipeline
