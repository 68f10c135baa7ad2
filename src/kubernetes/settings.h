// The controller's own settings: environment variables, checked once at start.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "kubernetes/cluster_access.h"
#include "log.h"
#include "setting.h"

namespace nixery::kubernetes {

struct ControllerSettings {
  std::filesystem::path images;  // NIXERY_IMAGES; the controller owns the files that begin with niximage.
  std::string registry;  // NIXERY_CONTROLLER_REGISTRY: where images are pulled to build them, "http://127.0.0.1:8080"
  std::string host;      // NIXERY_CONTROLLER_HOST: what clients write before an image's name; may be empty
  std::string only_namespace;     // NIXERY_CONTROLLER_NAMESPACE: the watched one; empty: all
  std::string short_names;        // NIXERY_CONTROLLER_SHORT_NAMES: its images also get names without it; may be empty
  unsigned quota = 0;             // NIXERY_CONTROLLER_QUOTA: limit of images in a namespace; 0: none
  unsigned builds = 0;            // NIXERY_CONTROLLER_BUILDS: images pulled at the same time
  std::chrono::seconds resync{};  // NIXERY_CONTROLLER_RESYNC: between pulls of an image that is built
  std::chrono::milliseconds settle{};       // NIXERY_CONTROLLER_SETTLE_MS: from writing a file to the first pull
  std::string lease_namespace, lease_name;  // NIXERY_CONTROLLER_LEASE: namespace/name; empty: no leader election
  std::string identity;  // NIXERY_CONTROLLER_IDENTITY, or POD_NAME, or the host's name and a random number
  log::Level log_level = log::Level::info;  // NIXERY_LOG_LEVEL
};

// Throws Error{bad_config} that names the variable.
ControllerSettings load_settings(const Environment& environment);

// For documentation, in order of importance.
std::vector<SettingDescription> described_settings();

}  // namespace nixery::kubernetes
