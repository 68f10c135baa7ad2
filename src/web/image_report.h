// What is known of an image that is built: its packages with licences, its layers with their store paths, and what is
// attached to it. Read from the tree alone and, for the paths, from the layers' recipes in STATE: what has gone from
// there is left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "image/digest.h"
#include "tree/tree.h"

namespace nixery::web {

// {"reference":…,"digest":…,"signature":…,"images":[…]}, one image for each platform. `repository` and `tag` must have
// passed the reference parser. Throws Error{unknown_manifest} where the manifest is gone, Error{corrupt}.
std::string image_report(const tree::Tree& tree, std::string_view repository, std::string_view tag,
                         const image::Digest& manifest);

// Of a list: what one line tells. Zero and empty where the manifest is gone.
struct ImageSummary {
  std::uint64_t size = 0;  // bytes of config and layers, of the first platform
  std::size_t layers = 0;
  std::string description, version;
  std::vector<std::string> architectures;
};
ImageSummary summary_of(const tree::Tree& tree, const image::Digest& manifest);

}  // namespace nixery::web
