// An OCI image manifest with one layer of any media type; image/manifest.h supports only those of images.
#pragma once

#include <string>
#include <string_view>

#include "attestations/artifact.h"
#include "image/manifest.h"

namespace nixery::attestations {

// The config of manifests that need none (image-spec, manifest.md, "Guidance for an Empty Descriptor").
inline constexpr std::string_view empty_media_type = "application/vnd.oci.empty.v1+json";
inline constexpr std::string_view empty_config = "{}";

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

// Keys are in a fixed order.
std::string to_json(const ManifestJson& manifest);

Artifact artifact_of(const ManifestJson& manifest);

}  // namespace nixery::attestations
