// Keys of builds and images: 64 hex each, a SHA-256 over length-prefixed fields. Pure.
#pragma once

#include <string>

#include "pipeline/resolved_image.h"
#include "pipeline/settings.h"

namespace nixery::pipeline {

// References of the same build have the same key: same packages, platform, encoding and tag in any spelling.
std::string build_key(const reference::Reference& reference);

// Covers everything that determines an image's bytes; `popularity` is popularity_key(). ResolvedImage::key is not used.
std::string image_key(const ResolvedImage& image, const PipelineSettings& settings, const std::string& popularity);
std::string popularity_key(const plan::Popularity& popularity);

// Covers the settings that decide what a tag refers to and whether it is served: a tag made under other settings is
// outdated. `source` is nix::Source::config_fingerprint().
std::string settings_key(const PipelineSettings& settings, const std::string& source, const std::string& popularity);

}  // namespace nixery::pipeline
