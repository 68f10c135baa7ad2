#include "nix/error_message.h"

namespace nixery::nix {

std::string_view last_error(std::string_view standard_error) {
  constexpr std::string_view mark = "error: ";
  std::size_t at = standard_error.npos;
  for (std::size_t next = 0; (next = standard_error.find(mark, next)) != standard_error.npos; ++next) {
    const auto line = standard_error.rfind('\n', next);
    const auto start = line == standard_error.npos ? 0 : line + 1;
    if (standard_error.substr(start, next - start).find_first_not_of(' ') == standard_error.npos) at = next;
  }
  if (at == standard_error.npos) return {};
  const std::string_view text = standard_error.substr(at + mark.size());
  return text.substr(0, text.find("(use '--show-trace'"));
}

std::string error_message(std::string_view standard_error) {
  std::string_view text = last_error(standard_error);
  for (const char* end : {"\n\n", "\n       at "}) text = text.substr(0, text.find(end));
  std::string message;
  for (const char c : text.substr(0, 600)) {
    if (c == '\n' || c == ' ') {
      if (!message.ends_with(' ')) message += ' ';
    } else {
      message += c;
    }
  }
  while (message.ends_with(' ')) message.pop_back();
  return message;
}

}  // namespace nixery::nix
