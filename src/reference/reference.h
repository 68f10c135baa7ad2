// Image names: what a person types after the registry's host.
//
//   [meta/…]package[/package…][:tag]       shell/curl, arm64/git:nixos-23.11, python3packages.requests
//
// Meta-packages: `shell`; `arm64` and `amd64` for the platform; `zstd` and `gzip` for the layers' encoding, which are
// meta-packages only as the first component of a longer name (they are packages as well). Grammar of repository and
// tag: OCI distribution-spec v1.1, "Pulling manifests".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reference/declared_config.h"
#include "reference/platform.h"

namespace nixery::reference {

inline constexpr std::size_t max_repository_length = 255;  // common limit of clients and registries, including the host
inline constexpr std::size_t max_packages = 64;            // of one image

bool is_repository(std::string_view text);
// Throws Error{bad_name} with the reason.
void check_repository(std::string_view text);
bool is_tag(std::string_view text);

// Whether a client probes for a signature or document with this tag: sha256-<hex>[.sig|.att|.sbom].
bool is_digest_tag(std::string_view tag);
// 40 lower-case hex: a git commit, which never moves.
bool is_commit(std::string_view tag);

// A package's path in the set, as it was typed: components separated by dots, never empty. Lower case in an image name.
struct AttributePath {
  std::string text;  // "python3packages.requests"
  auto operator<=>(const AttributePath&) const = default;
};

struct Reference {
  std::string repository;  // as requested: "shell/git/curl"
  std::string tag;         // "latest" if none was given
  // Parsed:
  std::vector<AttributePath> packages;  // no duplicates, meta-packages expanded; ascending, except for declared images
  std::optional<Platform> platform;     // from a meta-package
  std::optional<std::string> encoding;  // "gzip", "zstd": from a meta-package
  bool has_shell = false;               // `shell` was among them
  std::optional<Declaration> declared;  // if it is the name of a declared image

  // The tag that is requested from the package source.
  std::string source_tag() const;
  // Empty if it is not a declared image.
  std::string declaration_hash() const { return declared ? declared->hash : std::string(); }
};

struct NameAndTag {
  std::string_view name, tag;
};
// Splits "name:tag"; the tag of "name" is latest. Checks neither.
NameAndTag split_tag(std::string_view name_and_tag);

// How an image name spells an attribute of a set: in lower case, and "_7zz" as "7zz", since no part of an image name
// begins with an underscore. nullopt if none can.
std::optional<std::string> spelling_of_attribute(std::string_view attribute);

// Throws Error{bad_name} or Error{bad_tag} that names the wrong part and the reason.
Reference parse(std::string_view repository, std::string_view tag);
// "name", "name:tag"; as parse().
Reference parse(std::string_view name_and_tag);

// Shell: bashInteractive, coreutils, moreutils, nano; as attribute paths.
const std::vector<AttributePath>& shell_packages();

}  // namespace nixery::reference
