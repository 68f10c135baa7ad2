#include "log.h"

#include <fmt/chrono.h>
#include <unistd.h>

#include <ctime>

#include "json/json.h"

namespace nixery::log {

namespace {

void write(std::string_view level, std::string_view event, Fields fields) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "time", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr))));
  json::member(writer, "level", level);
  json::member(writer, "event", event);
  for (const auto& [key, value] : fields) json::member(writer, key, value);
  writer.EndObject();
  buffer.Put('\n');
  // One write, so that lines of several threads and workers do not mix; a full or closed log must not stop us.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, buffer.GetString(), buffer.GetSize());
}

}  // namespace

void info(std::string_view event, Fields fields) {
  write("info", event, fields);
}
void warning(std::string_view event, Fields fields) {
  write("warning", event, fields);
}

}  // namespace nixery::log
