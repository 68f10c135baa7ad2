// Packages that the operator has blocked, under any name.
//
// A glob blocks the paths and the package names that it matches. What the set has under another path, too (`pkgs.a.b`
// and `c.pkgs.b` for `a.b`), is known by its derivation: resolve.nix compares it with what the set has under blocked
// paths that end as the name does. Looking at all that a glob stands for would be evaluating whole sets. So an alias
// with a different name is not detected if the package is blocked only by a glob of its set.
#pragma once

#include <compare>
#include <map>
#include <string>
#include <vector>

#include "nix/name_list.h"
#include "reference/reference.h"

namespace nixery::nix {

// Where to look for the derivation that a name leads to: at `path`, in each of the sets that `within` leads to.
struct AliasCandidate {
  struct Step {
    std::string name, pattern;  // one of them: an attribute, or an extended regular expression that attributes match
    auto operator<=>(const Step&) const = default;
  };
  std::vector<Step> within;  // from the whole set on
  std::string path;          // "requests.dev"
  auto operator<=>(const AliasCandidate&) const = default;
};

struct AliasCandidates {
  std::vector<AliasCandidate> everywhere;                    // for every request
  std::map<std::string, std::vector<AliasCandidate>> named;  // more of them for a name
};

// Each once. A glob with brackets, or of a set of which it gives no letter, has none: it guards nothing but what it
// matches.
AliasCandidates alias_candidates_of(const NameList& blocked, const std::vector<reference::AttributePath>& names);

}  // namespace nixery::nix
