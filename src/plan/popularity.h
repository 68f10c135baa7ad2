// How often a package is used: upstream Nixery's NIX_POPULARITY_URL format, name -> count.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace nixery::plan {

using Popularity = std::map<std::string, std::uint64_t>;

// "openssl-3.0.11" -> "openssl", "python3.11-requests-2.28.1" -> "python3.11-requests". Nix's own rule: the version
// starts after the first dash that no letter follows. `name` is StorePath::name(), without the hash.
std::string_view package_name(std::string_view name);

// A JSON object of non-negative integers. Keys may carry a version: counts of one package's versions add up.
// `what` names the text in messages. Throws Error{bad_config}: "<what>: byte 17: <reason>".
Popularity parse_popularity(std::string_view text, std::string_view what);

}  // namespace nixery::plan
