// Whether Nix can build, by a build (nix/build_probe.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "doctor/finding.h"
#include "doctor/setup.h"

namespace nixery::doctor {

// Makes build-users-group and users in it; empty where its name is none that a shell could be given.
std::string build_users_command(std::string_view group);

// `trouble` is the result of probe_build(); empty: Nix can build.
Finding judge_build(const std::string& trouble);

// Within act_as(worker). One store path is built, which stays until Nix's next collection of garbage; nothing where
// there is no store yet, as it would be made.
std::vector<Finding> check_build(const Setup& setup);

}  // namespace nixery::doctor
