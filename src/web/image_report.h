// A report on a built image: its packages with licences, its layers with their store paths, and its attachments. Read
// from the tree and, for the paths, from the layers' recipes in STATE; missing data is omitted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "image/digest.h"
#include "tree/tree.h"

namespace nixery::web {

// {"reference":…,"digest":…,"signature":…,"images":[…]}, one image for each platform. `repository` and `tag` must have
// passed the reference parser. Throws Error{unknown_manifest} if the manifest is missing, Error{corrupt}.
std::string image_report(const tree::Tree& tree, std::string_view repository, std::string_view tag,
                         const image::Digest& manifest);

// One line of a list. Zero and empty if the manifest is missing.
struct ImageSummary {
  std::uint64_t size = 0;  // bytes of config and layers, of the first platform
  std::size_t layers = 0;
  std::string description, version;
  std::vector<std::string> architectures;
};
ImageSummary summary_of(const tree::Tree& tree, const image::Digest& manifest);

}  // namespace nixery::web
