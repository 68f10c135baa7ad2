// One line of JSON per event on standard error, for journald and friends:
// {"time":"2026-01-02T03:04:05Z","level":"info","event":"image built","reference":"shell/git:latest"}. Thread-safe.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace nixery::log {

using Fields = std::initializer_list<std::pair<std::string_view, std::string>>;

void info(std::string_view event, Fields fields = {});
void warning(std::string_view event, Fields fields = {});

}  // namespace nixery::log
