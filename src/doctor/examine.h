// All checks of a set-up, in the order in which they are reported.
#pragma once

#include <vector>

#include "doctor/checkup.h"
#include "doctor/setup.h"

namespace nixery::doctor {

std::vector<Check> all_checks(const SharedSetup& setup);

}  // namespace nixery::doctor
