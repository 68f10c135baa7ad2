// The subject of these documents: an image, with Nix's metadata of its contents. Everything here is pure and depends on
// neither clock nor host. An image may have several names and tags. SBOMs do not depend on them, so an image always has
// the same SPDX and CycloneDX documents. Only provenance contains the request.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "image/manifest.h"
#include "nix/nix.h"
#include "store/closure.h"

namespace nixery::attestations {

// The generator's version in the documents. Raise it when documents of equal subjects change.
inline constexpr int format_version = 1;

// The date in all documents: the image's own (pipeline/compose.cc).
inline constexpr std::string_view created = "1970-01-01T00:00:01Z";

// Refers to the caller's values, which must outlive it.
struct Subject {
  std::string repository;      // as requested: "shell/curl"
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
// comes from the source's URL. The name is the attribute path if it is known, else the package's name. `output` is a
// qualifier of our own.
struct Component {
  const store::PathInfo* info;
  const nix::Package* package;  // nullptr: not requested, so only its name is known
  std::string name, version;    // version may be empty
  std::string output;           // "bin"; empty if the path's name does not contain it
  std::string purl;
};

// One for each of closure.paths, in that order.
std::vector<Component> components_of(const Subject& subject);

// Indices of the requested packages' outputs, ascending.
std::vector<std::uint32_t> roots_of(const std::vector<Component>& components);

// "openssl-3.0.11-bin" -> openssl, 3.0.11, bin. Nix's own rule (builtins.parseDrvName): the version starts after the
// first dash that no letter follows. A suffix that is a usual output name counts as the output.
struct NameParts {
  std::string_view name, version, output;
};
NameParts parse_name(std::string_view store_path_name);

// The image's name in SBOMs: its packages' attributes, "git/curl".
std::string image_name(const Subject& subject);

// The image's purl: "pkg:oci/curl@sha256%3A…?arch=amd64" (types/oci-definition.json). Without repository_url, because a
// registry does not know its public names.
std::string image_purl(const Subject& subject);

// A UUID (RFC 9562, version 8) computed from `bytes`.
std::string uuid_of(std::string_view bytes);

// Whether `text` is an http(s) URL that documents may contain.
bool is_web_address(std::string_view text);

// 40 lower-case hex: a git commit.
bool is_commit(std::string_view text);

}  // namespace nixery::attestations
