// Recognises failures of the machine or of Nix itself, as opposed to the package's. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "metrics/metrics.h"

namespace nixery::nix {

using metrics::NixFault;

// By a sentence of Nix's own (log_line.h), never by what a builder printed; nullopt for any other sentence. The
// messages are those of Nix 2.8 to 2.34.
std::optional<NixFault> fault_in(std::string_view words);

// The same of a sentence on a build that failed: only what Nix adds to it of itself.
std::optional<NixFault> build_fault_in(std::string_view words);

// The same for an evaluation, whose last sentence may be one that a package throws: only what no package says.
std::optional<NixFault> evaluation_fault_in(std::string_view words);

// Whether the sentence says that a build failed, rather than that it could not be made: a builder's exit status, a hash
// that does not match, an output that is missing.
bool is_build_failure(std::string_view words);

// Whether it only says that another build failed, which has a sentence of its own: a dependency, or one of several
// builds.
bool is_failed_dependency(std::string_view words);

// Whether it says that a build was needed and that neither this machine nor another one may build.
bool is_disabled_build(std::string_view words);

}  // namespace nixery::nix
