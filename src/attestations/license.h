// Converts the licences of package sets into SPDX licence expressions (SPDX 2.3, annex D) for SBOMs.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::attestations {

// Licences outside SPDX's list: "LicenseRef-nix-unfree" -> "unfree", the package set's name.
using LicenseRefs = std::map<std::string, std::string>;

struct License {
  enum class Kind {
    identifier,  // a listed identifier: "MIT"
    expression,  // several, or with an exception: "MIT OR GPL-2.0-only"
    other,       // anything else
  };
  Kind kind = Kind::other;
  std::string expression;  // always valid; uses LicenseRefs for unlisted licences
  LicenseRefs refs;        // those in `expression`
};

// Parses one entry of a package's meta.license: an identifier, an expression, or a name of the package set.
License license_of(std::string_view given);

// Joins expressions with AND. Empty for none.
std::string joined_expression(const std::vector<License>& licenses);

}  // namespace nixery::attestations
