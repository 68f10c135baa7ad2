// Settings of the pipeline.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "attestations/signing_key.h"
#include "image/manifest.h"
#include "layer/encoding.h"
#include "nix/nix.h"
#include "plan/plan.h"
#include "reference/platform.h"
#include "tree/local_state.h"

namespace nixery::pipeline {

struct PipelineSettings {
  nix::NixSettings nix;
  tree::LocalState local;                      // where logs and Nix's roots are kept
  std::vector<reference::Platform> platforms;  // of names without a platform; several make an index
  image::Format format = image::Format::oci;
  layer::Encoding encoding;
  unsigned max_layers = 100;  // of an image, its root file system's layer included
  unsigned evaluations = 2;   // at the same time; further builds wait for a slot
  plan::Settings plan;        // its max_layers is derived from max_layers
  bool documents = true;      // attach SBOMs and provenance
  std::string builder_id;     // of this registry, in provenance; may be empty
  std::optional<attestations::SigningKey> signing_key;
  std::string signing_identity;  // precedes an image's name in its signature; may be empty
};

}  // namespace nixery::pipeline
