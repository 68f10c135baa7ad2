// Logs one line of JSON per event to standard error, for journald and similar collectors:
// {"time":"2026-01-02T03:04:05Z","level":"info","event":"image built","reference":"shell/git:latest","request":"…"}.
// The thread's cause (cause.h) is added to each line: "request", "trace_id", "span_id". If standard error is the
// systemd journal, the line begins with its priority (sd-daemon(3)). Thread-safe.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace nixery::log {

enum class Level {
  error,    // a fault of the registry itself that an operator should look into
  warning,  // something failed and was handled
  info,     // images built, tags removed, garbage collected
  debug     // every request that the worker answers
};

std::optional<Level> level_of(std::string_view name);  // "warning"
// Omits lines above `level`. Default: info.
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
