#include "log.h"

#include <fmt/chrono.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <ctime>

#include "cause.h"
#include "json/json.h"
#include "text/plain_text.h"

namespace nixery::log {

namespace {

std::atomic<Level> most{Level::info};

struct Name {
  std::string_view name;
  int priority;  // of syslog(3)
};
constexpr std::array<Name, 4> names = {{{"error", 3}, {"warning", 4}, {"info", 6}, {"debug", 7}}};

const Name& name_of(Level level) {
  return names[static_cast<std::size_t>(level)];
}

// Whether standard error is still the journal's socket, which systemd names in JOURNAL_STREAM.
bool is_journal() {
  static const bool result = [] {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat info {};
    return stream && fstat(STDERR_FILENO, &info) == 0 && fmt::format("{}:{}", info.st_dev, info.st_ino) == stream;
  }();
  return result;
}

}  // namespace

std::optional<Level> level_of(std::string_view name) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i].name == name) return static_cast<Level>(i);
  return std::nullopt;
}

void set_level(Level level) {
  most = level;
}

bool shows(Level level) {
  return level <= most.load(std::memory_order_relaxed);
}

void write(Level level, std::string_view event, Fields fields) {
  if (!shows(level)) return;
  json::Buffer buffer;
  if (is_journal())
    for (const char c : fmt::format("<{}>", name_of(level).priority)) buffer.Put(c);
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "time", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr))));
  json::member(writer, "level", name_of(level).name);
  json::member(writer, "event", event);
  for (const auto& [key, value] : fields) json::member(writer, key, text::plain_text(value));
  const Cause& cause = current_cause();
  if (!cause.request.empty()) json::member(writer, "request", cause.request);
  if (cause.trace) {
    json::member(writer, "trace_id", cause.trace->trace_id);
    json::member(writer, "span_id", cause.trace->span_id);
  }
  writer.EndObject();
  buffer.Put('\n');
  // One write, so that lines of several threads and workers do not mix. Errors are ignored: a full or closed log must
  // not stop the worker.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, buffer.GetString(), buffer.GetSize());
}

}  // namespace nixery::log
