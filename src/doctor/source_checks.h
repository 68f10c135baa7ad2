// Checks of where packages come from. Within os::act_as(worker).
#pragma once

#include "doctor/finding.h"
#include "doctor/setup.h"

namespace nixery::doctor {

Finding check_source(const Setup& setup);

}  // namespace nixery::doctor
