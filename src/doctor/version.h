// Versions of programs, as they tell them.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace nixery::doctor {

struct Version {
  unsigned major = 0, minor = 0, patch = 0;
  auto operator<=>(const Version&) const = default;
  std::string str() const;
};

// The first number with a point in what a program says: "nix (Nix) 2.8.0pre1" -> 2.8.0, "nginx version: nginx/1.22.1"
// -> 1.22.1, "2.34" -> 2.34.0. nullopt where there is none.
std::optional<Version> find_version(std::string_view text);

// Nix: whether advisories are known, by which a build may escape its sandbox, that this version, as released by the
// project, does not fix; the version that does, else. Of series before 2.28 none does.
struct EscapeAdvisories {
  bool open = false;
  std::optional<Version> fixed_in;  // of its series
};
EscapeAdvisories escape_advisories(const Version& nix);

}  // namespace nixery::doctor
