// The objects that every building command needs, made from the settings.
#pragma once

#include <memory>
#include <stop_token>

#include "config.h"
#include "layer/writer.h"
#include "metrics/metrics.h"
#include "nix/build_probe.h"
#include "nix/source.h"
#include "pipeline/declared_set.h"
#include "pipeline/image_pipeline.h"
#include "tree/tree.h"

namespace nixery::command {

struct RegistryParts {
  explicit RegistryParts(const Config& config);

  const Config config;
  metrics::Metrics metrics;
  const tree::Tree tree;
  const std::unique_ptr<nix::Source> source;
  nix::BuildProbe probe;
  layer::Writer writer;
  const pipeline::ImagePipeline pipeline;
  pipeline::DeclaredSet declared;

  // Resolves a name: a declared image, or packages.
  reference::Reference find(std::string_view name_and_tag);
  // Whether the package set of tag latest has the attribute, even if it is only a set. Evaluates it; failures count as
  // no.
  bool has_attribute(const reference::AttributePath& path, const std::stop_token& stop = {}) const;
};

}  // namespace nixery::command
