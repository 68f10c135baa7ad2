// Licences as package sets write them, turned into what SBOMs may hold: SPDX licence expressions (SPDX 2.3, annex D).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::attestations {

// Licences outside SPDX's list: "LicenseRef-nix-unfree" -> "unfree", the name that the set gives.
using LicenseRefs = std::map<std::string, std::string>;

struct License {
  enum class Kind {
    identifier,  // one of the list: "MIT"
    expression,  // several, or with an exception: "MIT OR GPL-2.0-only"
    other,       // anything else
  };
  Kind kind = Kind::other;
  std::string expression;  // valid in any case; a LicenseRef where the list has no such licence
  LicenseRefs refs;        // those in `expression`
};

// One entry of a package's meta.license: an identifier, an expression, or a name that only the set knows.
License license_of(std::string_view given);

// All of them apply: joined by AND. Empty for none.
std::string joined_expression(const std::vector<License>& licenses);

}  // namespace nixery::attestations
