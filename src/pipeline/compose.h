// Composes an image's config and annotations from the resolved packages and the root file system. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "error.h"
#include "image/manifest.h"
#include "nix/nix.h"
#include "pipeline/resolved_image.h"
#include "reference/reference.h"

namespace nixery::pipeline {

// The date of everything: reproducible, and not the epoch, which some tools cannot handle.
inline constexpr const char* created = "1970-01-01T00:00:01Z";

struct Facts {
  const reference::Reference& reference;
  const reference::Platform& platform;
  const nix::Revision& revision;
  const std::vector<nix::Package>& packages;
  std::vector<std::string> programs;  // names in the image's /bin, ascending
  bool has_certificates = false;      // /etc/ssl/certs/ca-bundle.crt
};

// OCI's pre-defined annotation keys (image-spec, annotations.md), which also serve as labels.
image::Annotations describe(const Facts& facts);

image::PlatformName platform_name(const reference::Platform& platform);

image::Config compose_config(const Facts& facts, std::vector<image::ConfigLayer> layers);

// The result of one platform of an index.
struct IndexMember {
  reference::Platform platform;
  std::optional<BuiltImage> built;
  std::optional<Error> error;  // set if `built` is not
  std::optional<image::Descriptor> descriptor = {};
};

// The index of the members that have a descriptor. Its annotations have the reasons of missing ones.
image::Index compose_index(image::Format format, const nix::Revision& revision,
                           const std::vector<IndexMember>& members);
// The members' warnings, one line each, and the missing members.
std::vector<std::string> index_warnings(const std::vector<IndexMember>& members);

}  // namespace nixery::pipeline
