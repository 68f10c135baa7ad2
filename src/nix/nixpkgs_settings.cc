#include "nix/nixpkgs_settings.h"

#include "image/digest.h"

namespace nixery::nix {

std::string NixpkgsSettings::config_digest() const {
  return config.empty() ? std::string() : image::Digest::of(config).hex();
}

std::string NixpkgsSettings::fingerprint() const {
  return image::KeyBuilder("nixpkgs settings")
      .add(unfree.str())
      .add(insecure.str())
      .add(broken.str())
      .add(config)
      .finish();
}

}  // namespace nixery::nix
