// Checks of the place where nginx hands over to workers: NIXERY_LISTEN.
#pragma once

#include <vector>

#include "doctor/finding.h"
#include "doctor/setup.h"

namespace nixery::doctor {

// Whether somebody listens there, answers as a worker does and says that it is ready. As the worker, or root.
std::vector<Finding> check_socket(const Setup& setup);
// Whether the web server's user may connect. Not for a port, where everybody may.
std::vector<Finding> check_socket_rights(const Setup& setup);

// What /readyz answers: the worker's own view, from inside its sandbox.
Finding judge_readiness(std::string_view cgi_answer);

// The soft limit of "Max open files" in /proc/PID/limits; 0 where it does not say, or has none.
std::uint64_t open_files_limit(std::string_view limits);

}  // namespace nixery::doctor
