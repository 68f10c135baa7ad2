#include "command/terminal_style.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "text/plain_text.h"

namespace nixery::command {

bool wants_colours(bool is_terminal, const std::function<const char*(const char* name)>& environment) {
  const auto value = [&](const char* name) -> std::string_view {
    const char* text = environment(name);
    return text ? text : "";
  };
  if (!value("NO_COLOR").empty()) return false;
  if (const auto force = value("CLICOLOR_FORCE"); !force.empty() && force != "0") return true;
  return is_terminal && !value("TERM").empty() && value("TERM") != "dumb";
}

TerminalStyle TerminalStyle::of(int descriptor) {
  return TerminalStyle(wants_colours(isatty(descriptor) == 1, [](const char* name) { return std::getenv(name); }));
}

std::string TerminalStyle::wrapped(std::string_view code, std::string_view text) const {
  const std::string plain = text::plain_text(text);
  if (!coloured_ || plain.empty()) return plain;
  return fmt::format("\033[{}m{}\033[0m", code, plain);
}

}  // namespace nixery::command
