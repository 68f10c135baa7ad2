// Colours for terminals: never in a pipe, a file or a log.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace nixery::command {

// Whether to use colours. NO_COLOR, set to any value, disables them; otherwise CLICOLOR_FORCE, set to anything but 0,
// enables them; otherwise a terminal has colours unless TERM is "dumb" or empty.
bool wants_colours(bool is_terminal, const std::function<const char*(const char* name)>& environment);

// Text is made plain first (text/plain_text.h), with or without colours.
class TerminalStyle {
 public:
  explicit TerminalStyle(bool coloured) : coloured_(coloured) {}
  // The style for output to that descriptor, by the environment.
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
