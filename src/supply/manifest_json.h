// An OCI image manifest of one layer, of whatever types: image/manifest.h knows those of images only.
#pragma once

#include <string>
#include <string_view>

#include "image/manifest.h"

namespace nixery::supply {

// A blob that a manifest describes; its digest and size are those of `bytes`.
struct DescribedBlob {
  std::string_view media_type;
  std::string_view bytes;
  image::Annotations annotations;
};

struct ManifestJson {
  std::string_view artifact_type;  // empty: none
  DescribedBlob config, layer;
  const image::Descriptor* subject = nullptr;
  image::Annotations annotations;
};

// Keys in a fixed order.
std::string to_json(const ManifestJson& manifest);

}  // namespace nixery::supply
