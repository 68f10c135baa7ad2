// Looks up identifiers of the SPDX licence list (spdx.org/licenses). Ignores case (SPDX 2.3, annex D.2) and returns the
// list's spelling.
#pragma once

#include <optional>
#include <string_view>

namespace nixery::attestations {

inline constexpr std::string_view license_list_version = "3.27";

std::optional<std::string_view> spdx_license(std::string_view text);    // "mit" -> "MIT"
std::optional<std::string_view> spdx_exception(std::string_view text);  // an operand of WITH

}  // namespace nixery::attestations
