#include "text/plain_text.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

#include "text/ascii.h"
#include "text/utf8.h"

namespace nixery::text {

namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd";  // U+FFFD
constexpr char escape = '\x1b', bell = '\a';

std::size_t skip(std::string_view text, std::size_t at, char first, char last) {
  while (at < text.size() && text[at] >= first && text[at] <= last) ++at;
  return at;
}

// Skips the parameters, intermediates and final byte of a control sequence after its CSI. A truncated sequence ends at
// the first other byte.
std::size_t behind_sequence(std::string_view text, std::size_t at) {
  at = skip(text, skip(text, at, '0', '?'), ' ', '/');
  return at < text.size() && text[at] >= '@' && text[at] <= '~' ? at + 1 : at;
}

// Skips a control string after its introducer.
std::size_t behind_string(std::string_view text, std::size_t begin) {
  for (std::size_t at = begin; at < text.size() && text[at] != '\n'; ++at) {
    if (text[at] == bell) return at + 1;
    if (text.substr(at).starts_with("\x1b\\") || text.substr(at).starts_with("\xc2\x9c")) return at + 2;
  }
  return begin;
}

// Skips an escape sequence, beginning at its ESC.
std::size_t behind_escape(std::string_view text, std::size_t at) {
  if (++at == text.size()) return at;
  switch (text[at]) {
    case '[': return behind_sequence(text, at + 1);
    case ']':
    case 'P':
    case 'X':
    case '^':
    case '_': return behind_string(text, at + 1);
    default: break;
  }
  const std::size_t final = skip(text, at, ' ', '/');
  return final < text.size() && text[final] >= '0' && text[final] <= '~' ? final + 1 : final;
}

// The C1 controls U+0080 to U+009F are equivalent to two-character ESC sequences.
std::size_t behind_c1(std::string_view text, std::size_t behind, char32_t code) {
  switch (code) {
    case 0x9b: return behind_sequence(text, behind);
    case 0x90:
    case 0x98:
    case 0x9d:
    case 0x9e:
    case 0x9f: return behind_string(text, behind);
    default: return behind;
  }
}

bool reorders(char32_t code) {
  return (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::string plain_text(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size();) {
    const auto character = first_character(text.substr(at));
    if (!character) {
      plain += replacement;
      ++at;
      continue;
    }
    const auto [code, size] = *character;
    if (text[at] == escape) {
      at = behind_escape(text, at);
    } else if (code >= 0x80 && code < 0xa0) {
      at = behind_c1(text, at + size, code);
    } else {
      const bool control = is_control(text[at]) && text[at] != '\n' && text[at] != '\t';
      if (!control && !reorders(code)) plain += text.substr(at, size);
      at += size;
    }
  }
  return plain;
}

std::string plain_line(std::string_view text) {
  std::string line;
  bool between = false;
  for (const char c : plain_text(text)) {
    if (c == '\n' || c == '\t') {
      between = true;
      continue;
    }
    if (between && !line.empty() && c != ' ' && !line.ends_with(' ')) line += ' ';
    between = false;
    line += c;
  }
  return line;
}

std::string plain_json(std::string_view json) {
  std::string plain;
  for (std::size_t at = 0; at < json.size();) {
    const Character character = first_character(json.substr(at)).value_or(Character{0, 1});
    if ((character.code >= 0x7f && character.code < 0xa0) || reorders(character.code))
      plain += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(character.code));
    else
      plain += json.substr(at, character.size);
    at += character.size;
  }
  return plain;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t limit = 80;
  std::string quoted = "'";
  for (const char c : text.substr(0, limit)) quoted += is_printable(c) ? c : '?';
  return quoted + (text.size() > limit ? "'…" : "'");
}

}  // namespace nixery::text
