// An image out of the tree into a form that others read: an OCI layout directory, or an archive for `docker load`.
#pragma once

#include <filesystem>
#include <string>

#include "image/digest.h"
#include "tree/tree.h"

namespace nixery::pipeline {

// OCI image-spec v1.1, image-layout.md, of an image or an index with all its members. `directory` is made; blobs and
// images that are in it already stay, but for an image of the same name; `name` becomes the
// org.opencontainers.image.ref.name of the index's entry. Safe beside other exports into the directory. Throws
// Error{bad_config} if the directory holds another version of the layout, or an index.json that is none.
void export_oci_layout(const tree::Tree& tree, const image::Digest& manifest, const std::string& name,
                       const std::filesystem::path& directory);

// Docker's image tarball v1.2: manifest.json, the config, the layers as they are compressed. It holds one image: of an
// index, the member for `architecture`. Published atomically. Throws Error{unsupported_platform}.
void export_docker_archive(const tree::Tree& tree, const image::Digest& manifest, std::string_view architecture,
                           const std::string& name, const std::filesystem::path& file);

}  // namespace nixery::pipeline
