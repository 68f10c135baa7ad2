// The settings of a command: those of the file given by --settings, then those of the environment.
#pragma once

#include <string>
#include <vector>

#include "command/command.h"
#include "config.h"

namespace nixery::command {

inline constexpr Option settings_option = {"--settings", "FILE",
                                           "the worker's settings, one NAME=VALUE per line: /etc/nixery/nixery.env"};

// Puts the variables of that file into the environment, also for child processes. Throws Misuse if the file does not
// exist.
void take_settings_file(const Arguments& arguments);

// Throws as load_config() does.
LoadedConfig load_settings(const Arguments& arguments);

// The same for commands that write into STATE. The worker could not open files that root made there, such as locks; so
// root changes to STATE's owner, irrevocably, and reports that on standard error. Call it before any thread starts.
// Throws Error{unavailable} if root cannot change to another user.
LoadedConfig load_settings_as_worker(const Arguments& arguments);

// Variables in the environment that look like settings but are not (config.h).
std::vector<std::string> strange_settings_of_environment(const std::vector<Setting>& known);

}  // namespace nixery::command
