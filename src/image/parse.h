// The one reader of manifests, indexes, descriptors and configs: of images and of artifacts, with any media types
// (OCI image-spec v1.1 and Docker v2 schema 2). manifest.h has the writer.
//
// Pure. Every function throws Error{corrupt} that names what was read if the bytes are not what they should be; a
// member of an unexpected JSON type that nobody depends on counts as absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/digest.h"
#include "image/manifest.h"
#include "image/media_type.h"

namespace nixery::image {

// A Descriptor whose media type may be any.
struct ParsedDescriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;  // bytes
  Annotations annotations;
  std::optional<PlatformName> platform;  // of an index's members
  std::string artifact_type = {};        // may be empty

  std::string_view architecture() const { return platform ? std::string_view(platform->architecture) : ""; }
};

// `what` is for messages.
ParsedDescriptor parse_descriptor(std::string_view bytes, std::string_view what);

struct ParsedManifest {
  MediaType type;                         // one of manifest_types
  std::vector<ParsedDescriptor> members;  // manifests, of an index
  std::optional<ParsedDescriptor> config;
  std::vector<ParsedDescriptor> layers;
  std::optional<ParsedDescriptor> subject;
  Annotations annotations;
  std::string artifact_type;  // may be empty

  bool is_index() const { return image::is_index(type); }
};

// `type` is what "mediaType" says, or, if that is missing as OCI allows, what the contents are.
ParsedManifest parse_manifest(std::string_view bytes, const Digest& digest);

struct ParsedConfig {
  std::string architecture, os;
  Annotations labels;
  std::vector<Digest> diff_ids;         // of the layers, in order
  std::vector<std::string> created_by;  // of the history's entries
};

ParsedConfig parse_config(std::string_view bytes, const Digest& digest);

// The descriptor of a referrer (distribution-spec v1.1, "Listing Referrers"), as the referrer's manifest says it.
Descriptor referrer_descriptor(std::string_view manifest_bytes, const Digest& digest);

}  // namespace nixery::image
