// The keys by which builds and images are found again: 64 hex each, a SHA-256 over length-prefixed fields. Pure.
#pragma once

#include <string>

#include "pipeline/resolved_image.h"
#include "pipeline/settings.h"

namespace nixery::pipeline {

// Two references have the same key if they are one build: same packages, platform, encoding and tag, however spelt.
std::string build_key(const reference::Reference& reference);

// Of all bytes of an image, by what determines them; `popularity` is popularity_key(). ResolvedImage::key is not used.
std::string image_key(const ResolvedImage& image, const PipelineSettings& settings, const std::string& popularity);
std::string popularity_key(const plan::Popularity& popularity);

// Of the settings that decide what a tag stands for and whether it is served: a tag made under other settings is
// outdated. `source` is nix::Source::config_fingerprint().
std::string settings_key(const PipelineSettings& settings, const std::string& source, const std::string& popularity);

}  // namespace nixery::pipeline
