// What Nix says of why it failed. Pure.
#pragma once

#include <string>
#include <string_view>

namespace nixery::nix {

// What follows the last "error: " that begins a line of Nix's output, with the traces and lines behind it; empty if
// there is none. Old: "error: what\n\n       at file:1:2". Newer: "error:\n       … while …\n\n       error: what".
std::string_view last_error(std::string_view standard_error);

// The sentence after the last "error:" of Nix's output, without traces; empty if there is none.
std::string error_message(std::string_view standard_error);

}  // namespace nixery::nix
