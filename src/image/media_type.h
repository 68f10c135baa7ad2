// The media types that are served, each with its file extension in nginx's table (nginx/nixery-http.conf).
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace nixery::image {

enum class MediaType {
  oci_manifest,
  oci_index,
  oci_config,
  oci_layer_gzip,
  oci_layer_zstd,
  docker_manifest,
  docker_manifest_list,
  docker_config,
  docker_layer_gzip,
};

// "application/vnd.oci.image.manifest.v1+json"
std::string_view name_of(MediaType type);

// The four kinds of manifest, with their file extensions in the tree: "oci-manifest", "oci-index", "docker-manifest",
// "docker-list".
inline constexpr std::array manifest_types = {MediaType::oci_manifest, MediaType::oci_index, MediaType::docker_manifest,
                                              MediaType::docker_manifest_list};
std::string_view extension_of(MediaType manifest_type);
constexpr bool is_index(MediaType type) {
  return type == MediaType::oci_index || type == MediaType::docker_manifest_list;
}
// nullopt for any other name.
std::optional<MediaType> manifest_type_named(std::string_view name);

// Of descriptors, whose media types may be any.
bool is_compressed_layer(std::string_view media_type);
bool is_image_config(std::string_view media_type);

}  // namespace nixery::image
