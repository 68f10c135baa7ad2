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
#include "tree/layout.h"

namespace nixery {

inline constexpr const char* default_state = "/var/lib/nixery/state";  // NIXERY_STATE where it is not set

struct Config {
  tree::Layout layout;
  std::filesystem::path images;  // directory of declared images; empty: none
  nix::SourceSettings source;
  nix::NixSettings nix;
  std::vector<reference::Platform> platforms;  // of names that do not say one; at least one, each once
  image::Format format = image::Format::oci;
  std::string encoding;        // name of a layer::Encoding
  unsigned max_layers = 100;   // of an image, the root file system's among them
  std::string popularity;      // file or URL with package -> count; empty: none
  std::string listen;          // "unix:/path" or "host:port"
  unsigned threads = 0;        // that accept requests
  unsigned build_threads = 0;  // builds at the same time
  unsigned evaluations = 0;    // of them, that evaluate
  unsigned compressors = 0;    // threads that compress, for all of them
  unsigned queue_length = 0;   // builds that may wait
  unsigned max_waiting = 0;    // requests that may wait on builds
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
  std::uint64_t min_free = 0;     // bytes of disk with less of which it is not ready
  log::Level log_level = log::Level::info;
};

// One setting as it stands, for `nixery config`.
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

// Throws Error{bad_config} that names the variable, what was given and what is allowed.
LoadedConfig load_config(const Environment& environment);

// For documentation, in the order in which people meet them. The same on every machine.
std::vector<SettingDescription> described_settings();

// A sentence for each of `names` (of environment variables) that looks like a setting and is none: mistyped, or of the
// Go Nixery.
std::vector<std::string> strange_settings(const std::vector<Setting>& known, const std::vector<std::string>& names);

}  // namespace nixery
