// Checks of Nix, as the worker meets it. All but the judging of texts within os::act_as(worker).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/finding.h"
#include "doctor/setup.h"
#include "os/process.h"

namespace nixery::doctor {

// Why a command of Nix failed: its error, or how it ended.
std::string reason_of(const os::ProcessResult& outcome);

// `said` by nix-store --version.
Finding judge_nix_version(std::string_view said);
// Of the Nix that builds: nix-daemon's where there is one. Never more than a warning.
Finding judge_advisories(const Version& version, std::string_view whose);

struct Building {
  bool by_daemon = false;
  bool as_root = false;              // without a daemon
  std::size_t members_of_group = 0;  // of build-users-group
};
// `configuration` is what `nix show-config --json` prints.
std::vector<Finding> judge_building(std::string_view configuration, const Building& building);

// Version, store or daemon, advisories, sandbox and build users; where none of these fails, a build.
std::vector<Finding> check_nix(const Setup& setup);
// Whether it can evaluate; touches no store.
Finding check_evaluation(const Setup& setup);

}  // namespace nixery::doctor
