// What every command that builds needs, put together once from the settings.
#pragma once

#include <atomic>
#include <memory>

#include "build/declared_set.h"
#include "build/road.h"
#include "config.h"
#include "layer/writer.h"
#include "metrics/metrics.h"
#include "nix/source.h"
#include "tree/tree.h"

namespace nixery::command {

struct RegistryParts {
  explicit RegistryParts(const Config& config);

  const Config config;
  metrics::Metrics metrics;
  const tree::Tree tree;
  const std::unique_ptr<nix::Source> source;
  layer::Writer writer;
  const build::Road road;
  build::DeclaredSet declared;

  // What a name stands for: a declared image, or packages.
  reference::Reference find(std::string_view name_and_tag);
  // Whether the package set of tag latest has the attribute, if only as a set. Evaluates it; failures count as no.
  bool has_attribute(const reference::AttributePath& path, const std::atomic<bool>* stop = nullptr) const;
};

}  // namespace nixery::command
