// What every command that builds needs, put together once from the settings.
#pragma once

#include <memory>

#include "build/road.h"
#include "config.h"
#include "layer/writer.h"
#include "nix/source.h"
#include "tree/tree.h"

namespace nixery::command {

struct RegistryParts {
  explicit RegistryParts(const Config& config);

  const Config config;
  const tree::Tree tree;
  const std::unique_ptr<nix::Source> source;
  layer::Writer writer;
  const build::Road road;
};

LoadedConfig load_config_from_environment();

}  // namespace nixery::command
