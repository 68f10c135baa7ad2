// The settings: environment variables, read and checked once at start.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "image/manifest.h"
#include "log.h"
#include "maintenance/selection.h"
#include "nix/nix.h"
#include "nix/source.h"
#include "setting.h"
#include "tree/local_state.h"

namespace nixery {

inline constexpr const char* default_state = "/var/lib/nixery/state";  // NIXERY_STATE if it is not set

struct Config {
  std::filesystem::path tree, state;
  std::filesystem::path images;  // directory of declared images; empty: none
  nix::SourceSettings source;
  nix::NixSettings nix;
  std::vector<reference::Platform> platforms;  // of names without a platform; at least one, no duplicates
  image::Format format = image::Format::oci;
  std::string encoding;        // name of a layer::Encoding
  unsigned max_layers = 100;   // of an image, including the root file system's
  std::string popularity;      // file or URL with package -> count; empty: none
  std::string listen;          // "unix:/path" or "host:port"
  unsigned threads = 0;        // that accept requests
  unsigned build_threads = 0;  // builds at the same time
  unsigned evaluations = 0;    // evaluations at the same time
  unsigned compressors = 0;    // threads that compress, shared by all builds
  unsigned queue_length = 0;   // builds that can wait in the queue
  unsigned max_waiting = 0;    // requests that can wait for builds
  std::chrono::seconds hop{20};
  unsigned hops = 9;
  bool catalog = true;
  bool sbom = true;
  std::string builder_id;             // a URI; empty: unnamed
  std::filesystem::path signing_key;  // empty: images are not signed
  std::string signing_identity;       // "registry.example.org"; may be empty
  std::chrono::seconds failure_memory{30};
  std::chrono::seconds refresh{300};
  std::chrono::seconds gc_interval{0};  // 0: never
  maintenance::Policy gc;
  std::filesystem::path use_log;  // the web server's; empty: none
  std::uint64_t min_free = 0;     // bytes of free disk below which the worker is not ready
  log::Level log_level = log::Level::info;

  tree::LocalState local() const { return {state}; }
};

// A setting with its effective value, for `nixery config`.
struct Setting {
  std::string name;   // "NIXERY_TREE"
  std::string value;  // effective; credentials left out
  bool from_environment;
  std::string description;
};

struct LoadedConfig {
  Config config;
  std::vector<Setting> settings;
};

using Environment = std::function<const char*(const char* name)>;

// Throws Error{bad_config} with the variable, its value and what is allowed.
LoadedConfig load_config(const Environment& environment);

// For documentation, in order of importance. The same on every machine.
std::vector<SettingDescription> described_settings();

// A sentence for each of `names` (of environment variables) that looks like a setting but is not one: misspelt, or a
// setting of the Go Nixery.
std::vector<std::string> strange_settings(const std::vector<Setting>& known, const std::vector<std::string>& names);

}  // namespace nixery
