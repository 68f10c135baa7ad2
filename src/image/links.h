// Reads the descriptors in a manifest or an index, of images and artifacts of any media type.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/digest.h"

namespace nixery::image {

struct Link {
  Digest digest;
  std::uint64_t size = 0;    // bytes
  std::string architecture;  // of an index's member: "arm64"; may be empty
};

struct Links {
  std::vector<Link> members;   // manifests, of an index
  std::optional<Link> config;  // of a manifest
  std::vector<Link> layers;    // likewise
  std::optional<Link> subject;
};

// Throws Error{corrupt} that names `manifest` if the bytes are not a manifest.
Links links_of(std::string_view bytes, const Digest& manifest);

}  // namespace nixery::image
