// Runs checks side by side, none longer than its deadline.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "doctor/finding.h"

namespace nixery::doctor {

struct Check {
  std::string name;  // of its finding, where it ends without any
  // May be left behind on its thread, so it must own what it uses. What it throws is a failure.
  std::function<std::vector<Finding>()> run;
};

struct Checkup {
  std::vector<Finding> findings;  // in the order of the checks
  // True if a check is still running: leave by finish().
  bool overdue = false;
};

Checkup run_checks(std::vector<Check> checks, std::chrono::seconds deadline);

// Ends the process though checks may still be running: kills what they have started, flushes standard output, exits.
[[noreturn]] void finish(int status);

}  // namespace nixery::doctor
