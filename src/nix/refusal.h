// Reads nixpkgs' refusals of packages (pkgs/stdenv/generic/check-meta.nix and problems.nix), as worded in releases of
// 2018 to 2026. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "error.h"
#include "reference/platform.h"

namespace nixery::nix {

struct Refusal {
  Failure failure;         // unfree, insecure, broken, removed, unsupported_platform, or forbidden for other rules
  std::string derivation;  // "openssl-1.0.2u": the package that was asked for, or one that it needs; may be empty
  std::string what;        // "is marked as insecure (end of life; CVE-2020-1)", bounded
};

// The refusal in the last error of `standard_error`, which Nix printed; nullopt if that error is another one.
std::optional<Refusal> read_refusal(std::string_view standard_error);

// The message is for the person who pulls: what the problem is, that the operator decides, and by which setting. It has
// no paths and none of nixpkgs' advice for users of a shell. `requested` is empty if the whole set was refused.
Error refusal_error(const Refusal& refusal, std::string_view requested, const reference::Platform& platform);

// True if `message`, of an attribute that is a `throw`, says that the package was removed, renamed or replaced, as in
// pkgs/top-level/aliases.nix. Other attributes throw for other reasons.
bool describes_removal(std::string_view message);

}  // namespace nixery::nix
