// The two files of an OCI layout beside its blobs (image-spec v1.1, image-layout.md): "oci-layout" and "index.json".
// Pure; export.h writes them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/manifest.h"
#include "image/parse.h"

namespace nixery::image {

inline constexpr std::string_view layout_version_file = R"({"imageLayoutVersion":"1.0.0"})";
inline constexpr const char* layout_name_annotation = "org.opencontainers.image.ref.name";

// Throws Error{bad_config} that names `file` unless these are the contents of an "oci-layout" of version 1.0.0.
void check_layout_version(std::string_view contents, std::string_view file);

// The index.json `index` with `image` under `name`, in place of an entry of that name. All other entries and members
// stay as they are, also those of other programs. nullopt: there is no index yet. Throws Error{bad_config} that names
// `file` if it is no image index.
std::string with_image(const std::optional<std::string>& index, const Descriptor& image, const std::string& name,
                       std::string_view file);

}  // namespace nixery::image
