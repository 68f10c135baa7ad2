#include "image/media_type.h"

namespace nixery::image {

std::string_view name_of(MediaType type) {
  switch (type) {
    case MediaType::oci_manifest: return "application/vnd.oci.image.manifest.v1+json";
    case MediaType::oci_index: return "application/vnd.oci.image.index.v1+json";
    case MediaType::oci_config: return "application/vnd.oci.image.config.v1+json";
    case MediaType::oci_layer_gzip: return "application/vnd.oci.image.layer.v1.tar+gzip";
    case MediaType::oci_layer_zstd: return "application/vnd.oci.image.layer.v1.tar+zstd";
    case MediaType::docker_manifest: return "application/vnd.docker.distribution.manifest.v2+json";
    case MediaType::docker_manifest_list: return "application/vnd.docker.distribution.manifest.list.v2+json";
    case MediaType::docker_config: return "application/vnd.docker.container.image.v1+json";
    case MediaType::docker_layer_gzip: return "application/vnd.docker.image.rootfs.diff.tar.gzip";
  }
  return {};
}

std::string_view extension_of(MediaType manifest_type) {
  switch (manifest_type) {
    case MediaType::oci_manifest: return "oci-manifest";
    case MediaType::oci_index: return "oci-index";
    case MediaType::docker_manifest: return "docker-manifest";
    case MediaType::docker_manifest_list: return "docker-list";
    default: return {};
  }
}

std::optional<MediaType> manifest_type_named(std::string_view name) {
  for (const MediaType type : manifest_types)
    if (name_of(type) == name) return type;
  return std::nullopt;
}

bool is_compressed_layer(std::string_view media_type) {
  return media_type == name_of(MediaType::oci_layer_gzip) || media_type == name_of(MediaType::oci_layer_zstd) ||
         media_type == name_of(MediaType::docker_layer_gzip);
}

bool is_image_config(std::string_view media_type) {
  return media_type == name_of(MediaType::oci_config) || media_type == name_of(MediaType::docker_config);
}

}  // namespace nixery::image
