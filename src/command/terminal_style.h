// Colours, for people at a terminal: never in a pipe, a file or a log.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace nixery::command {

// Whether to colour what goes to a terminal (or not to one). NO_COLOR, set to anything, says never; then
// CLICOLOR_FORCE, set to anything but 0, says always; then a terminal is coloured unless TERM is "dumb" or empty.
bool wants_colours(bool is_terminal, const std::function<const char*(const char* name)>& environment);

// What is coloured is made plain first (text/plain_text.h), whether there are colours or not.
class TerminalStyle {
 public:
  explicit TerminalStyle(bool coloured) : coloured_(coloured) {}
  // For what is printed on that descriptor, by the environment.
  static TerminalStyle of(int descriptor);

  std::string bold(std::string_view text) const { return wrapped("1", text); }
  std::string dim(std::string_view text) const { return wrapped("2", text); }
  std::string red(std::string_view text) const { return wrapped("1;31", text); }
  std::string green(std::string_view text) const { return wrapped("32", text); }
  std::string yellow(std::string_view text) const { return wrapped("33", text); }

 private:
  std::string wrapped(std::string_view code, std::string_view text) const;

  bool coloured_;
};

}  // namespace nixery::command
