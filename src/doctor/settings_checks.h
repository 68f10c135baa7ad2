// Checks of the settings themselves and of the files that they name.
#pragma once

#include <vector>

#include "config.h"
#include "doctor/finding.h"
#include "doctor/setup.h"

namespace nixery::doctor {

struct ReadSettings {
  LoadedConfig loaded;
  std::vector<Finding> findings;
};

// The settings of the environment, all that is wrong with them being findings rather than the end: what is not valid is
// taken as not set, so that everything else can be checked. `strange` is strange_settings().
ReadSettings read_settings(const Environment& environment,
                           const std::function<std::vector<std::string>(const std::vector<Setting>&)>& strange);

// Within os::act_as(worker): keys, tokens, declared images.
std::vector<Finding> check_files(const Setup& setup);
// That the clock can be right.
Finding check_clock(const Setup& setup);

}  // namespace nixery::doctor
