#include "metrics/exposition.h"

#include <fmt/format.h>

namespace nixery::metrics {

namespace {

void append_escaped(std::string& text, std::string_view value, bool quoted) {
  for (const char c : value) {
    if (c == '\n') {
      text += "\\n";
    } else if (c == '\\' || (c == '"' && quoted)) {
      text += '\\';
      text += c;
    } else {
      text += c;
    }
  }
}

}  // namespace

void Exposition::family(std::string_view name, std::string_view help, std::string_view type) {
  name_ = name;
  text_ += fmt::format("# HELP {} ", name);
  append_escaped(text_, help, false);
  text_ += fmt::format("\n# TYPE {} {}\n", name, type);
}

void Exposition::line(std::string_view suffix, Labels labels, std::string_view bound, std::string_view value) {
  text_ += name_;
  text_ += suffix;
  char separator = '{';
  const auto add = [&](std::string_view name, std::string_view text) {
    text_ += separator;
    text_ += name;
    text_ += "=\"";
    append_escaped(text_, text, true);
    text_ += '"';
    separator = ',';
  };
  for (const auto& [name, text] : labels) add(name, text);
  if (!bound.empty()) add("le", bound);
  if (separator == ',') text_ += '}';
  text_ += fmt::format(" {}\n", value);
}

void Exposition::sample(Labels labels, std::uint64_t value) {
  line("", labels, "", fmt::format("{}", value));
}

void Exposition::sample(Labels labels, double value) {
  line("", labels, "", fmt::format("{}", value));
}

void Exposition::sample(Labels labels, const Histogram& value) {
  const auto reading = value.read();
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < reading.buckets.size(); ++i) {
    so_far += reading.buckets[i];
    line("_bucket", labels, i < bounds.size() ? fmt::format("{}", bounds[i]) : "+Inf", fmt::format("{}", so_far));
  }
  line("_sum", labels, "", fmt::format("{}", reading.seconds));
  line("_count", labels, "", fmt::format("{}", so_far));
}

}  // namespace nixery::metrics
