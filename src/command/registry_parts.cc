#include "command/registry_parts.h"

#include <cstdlib>

namespace nixery::command {

namespace {

build::RoadSettings road_settings(const Config& config) {
  build::RoadSettings settings;
  settings.nix = config.nix;
  settings.platform = config.platform;
  settings.format = config.format;
  settings.encoding = *layer::Encoding::parse(config.encoding);
  settings.max_layers = config.max_layers;
  return settings;
}

const tree::Tree& prepared(const tree::Tree& tree) {
  tree.prepare();
  return tree;
}

}  // namespace

RegistryParts::RegistryParts(const Config& given)
    : config(given),
      tree(config.layout),
      source(nix::make_source(config.source, config.layout.sources())),
      writer(prepared(tree).layout()),
      road(road_settings(config), tree, *source, writer) {}

LoadedConfig load_config_from_environment() {
  return load_config([](const char* name) { return std::getenv(name); });
}

}  // namespace nixery::command
