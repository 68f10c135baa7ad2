// Parses a file of environment variables in the format of systemd's EnvironmentFile=.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nixery {

// NAME=VALUE lines. Comments begin with # or ;. Values may be quoted with " (\ escapes special characters) or with '.
// Quoted values may span lines, and a \ at the end of a line continues it. Other lines are ignored.
std::vector<std::pair<std::string, std::string>> parse_settings_file(std::string_view text);

}  // namespace nixery
