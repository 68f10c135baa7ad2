// Checks of the unit by which systemd runs the worker.
#pragma once

#include <vector>

#include "doctor/finding.h"
#include "doctor/setup.h"

namespace nixery::doctor {

// Whether the unit's sandbox lets the worker write TREE and STATE where they are now; nothing where there is no unit.
std::vector<Finding> check_unit(const Setup& setup);

}  // namespace nixery::doctor
