// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Pure; any bytes may be given.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace nixery::text {

struct Character {
  char32_t code = 0;
  std::size_t size = 0;  // bytes: 1 to 4
};

// The first character of `text`; nullopt if it is empty or does not begin with one.
std::optional<Character> first_character(std::string_view text);

bool is_utf8(std::string_view text);

// With U+FFFD for each byte that is part of no character.
std::string valid_utf8(std::string_view text);

// At most `most` bytes from the front, without a character that would be cut.
std::string_view truncated(std::string_view text, std::size_t most);

}  // namespace nixery::text
