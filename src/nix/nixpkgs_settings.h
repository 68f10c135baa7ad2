// The operator's settings for nixpkgs: packages that it must not refuse, and a configuration file.
#pragma once

#include <string>

#include "nix/name_list.h"

namespace nixery::nix {

struct NixpkgsSettings {
  // By pname ("steam") or by name with version ("openssl-1.0.2u"); simple globs.
  NameList unfree, insecure, broken;
  // Text of a Nix file that gives { config, overlays }, or is a function of { system, … } to that; empty: none.
  std::string config;

  bool is_default() const { return unfree.empty() && insecure.empty() && broken.empty() && config.empty(); }
  std::string config_digest() const;  // SHA-256 of `config`, 64 hex; empty without one
  std::string fingerprint() const;    // 64 hex, of all of it
};

}  // namespace nixery::nix
