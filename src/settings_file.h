// A file with environment variables, as systemd's EnvironmentFile= takes it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nixery {

// NAME=VALUE lines; comments begin with # or ;, values may be quoted by " or '. Other lines are left out, as systemd
// does. (Lines continued by a backslash are not known here.)
std::vector<std::pair<std::string, std::string>> parse_settings_file(std::string_view text);

}  // namespace nixery
