// Exports an image from the tree: to an OCI layout directory, or to an archive for `docker load`.
#pragma once

#include <filesystem>
#include <string>

#include "image/digest.h"
#include "tree/tree.h"

namespace nixery::pipeline {

// OCI image-spec v1.1, image-layout.md, of an image or an index with all its members. `directory` is made; existing
// blobs and images stay, except for an image of the same name; `name` becomes the org.opencontainers.image.ref.name of
// the index's entry. Safe with concurrent exports into the directory. Throws Error{bad_config} if the directory has
// another version of the layout or an invalid index.json.
void export_oci_layout(const tree::Tree& tree, const image::Digest& manifest, const std::string& name,
                       const std::filesystem::path& directory);

// Docker's image tarball v1.2: manifest.json, the config, the compressed layers. It has one image: of an index, the
// member for `architecture`. Published atomically. Throws Error{unsupported_platform}.
void export_docker_archive(const tree::Tree& tree, const image::Digest& manifest, std::string_view architecture,
                           const std::string& name, const std::filesystem::path& file);

}  // namespace nixery::pipeline
