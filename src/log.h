// One line of JSON per event on standard error, for journald and friends:
// {"time":"2026-01-02T03:04:05Z","level":"info","event":"image built","reference":"shell/git:latest","request":"…"}.
// What the thread works for (cause.h) is added to each: "request", "trace_id", "span_id". Where standard error is the
// access_log, the line has its priority in front (sd-daemon(3)). Thread-safe.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace nixery::log {

enum class Level {
  error,    // a fault of the registry itself: an operator should look
  warning,  // something failed, and it was dealt with
  info,     // what was built, dropped, collected
  debug     // every request that a worker answers
};

std::optional<Level> level_of(std::string_view name);  // "warning"
// Lines beyond `level` are left out. Until it is set: info.
void set_level(Level level);
bool shows(Level level);

using Fields = std::initializer_list<std::pair<std::string_view, std::string>>;

void write(Level level, std::string_view event, Fields fields);

inline void error(std::string_view event, Fields fields = {}) {
  write(Level::error, event, fields);
}
inline void warning(std::string_view event, Fields fields = {}) {
  write(Level::warning, event, fields);
}
inline void info(std::string_view event, Fields fields = {}) {
  write(Level::info, event, fields);
}
inline void debug(std::string_view event, Fields fields = {}) {
  write(Level::debug, event, fields);
}

}  // namespace nixery::log
