// The subject of these documents: an image, with what Nix knows of its contents. Everything here is pure and
// depends on neither clock nor host. An image may be asked for by several names and tags; SBOMs do not depend on these,
// so that each image has one SPDX and one CycloneDX document for ever. Only provenance contains what was requested.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "image/manifest.h"
#include "nix/nix.h"
#include "store/closure.h"

namespace nixery::attestations {

// To be raised when documents of equal subjects change: it stands in them as their generator's version.
inline constexpr int format_version = 1;

// The date of everything that we make: the image's own (build/compose.cc).
inline constexpr std::string_view created = "1970-01-01T00:00:01Z";

// Refers to its maker's values, which must outlive it.
struct Subject {
  std::string repository;      // as it was asked for: "shell/curl"
  std::string tag;             // likewise: "latest"
  image::Descriptor manifest;  // type, digest and size
  image::PlatformName platform;
  const nix::Resolution& resolution;
  const nix::Revision& revision;
  const store::Closure& closure;
  const nix::NixpkgsSettings& nixpkgs;
};

// A store path as SBOMs list it.
//
// purl: "pkg:nix/nixpkgs/curl@8.7.1?commit=…&output=bin" (package-url/purl-spec, types/nix-definition.json). The origin
// is from the source's URL; the name is the attribute path where it is known, else the package's name; `output` is
// ours.
struct Component {
  const store::PathInfo* info;
  const nix::Package* package;  // nullptr: not requested, so that only its name is known
  std::string name, version;    // version may be empty
  std::string output;           // "bin"; empty if the path's name does not contain it
  std::string purl;
};

// One each of closure.paths, in that order.
std::vector<Component> components_of(const Subject& subject);

// Indices of the components that the image was made to hold: the packages' outputs, ascending.
std::vector<std::uint32_t> roots_of(const std::vector<Component>& components);

// "openssl-3.0.11-bin" -> openssl, 3.0.11, bin. Nix's own rule (builtins.parseDrvName): the version starts after the
// first dash that no letter follows. What ends in the name of a usual output is one.
struct NameParts {
  std::string_view name, version, output;
};
NameParts parse_name(std::string_view store_path_name);

// What SBOMs call the image: its packages' attributes, "git/curl".
std::string image_name(const Subject& subject);

// The image's: "pkg:oci/curl@sha256%3A…?arch=amd64" (types/oci-definition.json); no repository_url, for a registry does
// not know by what names it is reached.
std::string image_purl(const Subject& subject);

// A UUID (RFC 9562, version 8) that only equal `bytes` share.
std::string uuid_of(std::string_view bytes);

// Whether `text` may stand where a format asks for a URL.
bool is_web_address(std::string_view text);

// 40 lower-case hex: a git commit.
bool is_commit(std::string_view text);

}  // namespace nixery::attestations
