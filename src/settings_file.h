// A file with environment variables, as systemd's EnvironmentFile= takes it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nixery {

// NAME=VALUE lines. Comments begin with # or ;. Values may be quoted, by " with \ before what is special there, or by
// '; quoted ones may hold line ends, and a \ at a line's end joins the next. Lines of any other shape are left out.
std::vector<std::pair<std::string, std::string>> parse_settings_file(std::string_view text);

}  // namespace nixery
