// The settings of a command: the environment's, and before them those of the file that --settings names.
#pragma once

#include <string>
#include <vector>

#include "command/command.h"
#include "config.h"

namespace nixery::command {

inline constexpr Option settings_option = {
    "--settings", "FILE", "variables that the worker has, a line NAME=VALUE each: /etc/nixery/nixery.env"};

// What that file says counts as if it were in the environment, for us and for what we start. Throws Misuse where there
// is no such file.
void take_settings_file(const Arguments& arguments);

// Throws as load_config() does.
LoadedConfig load_settings(const Arguments& arguments);

// The same for who writes into STATE by hand. STATE is the worker's, and what root made there, a lock among it, the
// worker could not open again: so root becomes STATE's owner, for good, and says so on standard error. Before any
// thread has begun. Throws Error{unavailable} for a root that may not become others.
LoadedConfig load_settings_as_worker(const Arguments& arguments);

// What in the environment looks like a setting and is none (config.h).
std::vector<std::string> strange_settings_of_environment(const std::vector<Setting>& known);

}  // namespace nixery::command
