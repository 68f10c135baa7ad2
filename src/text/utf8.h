// UTF-8 by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. Pure; accepts any bytes.
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

// Replaces each byte that is not part of a character by U+FFFD.
std::string valid_utf8(std::string_view text);

// At most the first `most` bytes, without an incomplete character at the end.
std::string_view truncated(std::string_view text, std::size_t most);

}  // namespace nixery::text
