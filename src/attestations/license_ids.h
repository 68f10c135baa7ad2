// Which words are identifiers of the SPDX licence list (spdx.org/licenses). Compared without regard to case, as SPDX
// 2.3, annex D.2, asks; what is returned is spelt as in the list.
#pragma once

#include <optional>
#include <string_view>

namespace nixery::attestations {

inline constexpr std::string_view license_list_version = "3.27";

std::optional<std::string_view> spdx_license(std::string_view text);    // "mit" -> "MIT"
std::optional<std::string_view> spdx_exception(std::string_view text);  // what may stand behind WITH

}  // namespace nixery::attestations
