// ASCII characters and words, independent of the locale. Pure; bytes of 0x80 and more belong to none of these classes.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace nixery::text {

constexpr bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
constexpr bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
constexpr bool is_letter(char c) {
  return is_lower(c) || is_upper(c);
}
constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_alnum(char c) {
  return is_letter(c) || is_digit(c);
}
constexpr bool is_control(char c) {
  return (c >= '\0' && c < ' ') || c == '\x7f';
}
constexpr bool is_printable(char c) {
  return c >= ' ' && c < '\x7f';
}

constexpr char lower(char c) {
  return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
}
constexpr char upper(char c) {
  return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c;
}

inline std::string lower_case(std::string_view text) {
  std::string lowered(text);
  std::transform(lowered.begin(), lowered.end(), lowered.begin(), lower);
  return lowered;
}

inline bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}

// Also true for an empty text.
template <typename Predicate>
constexpr bool all(std::string_view text, Predicate&& predicate) {
  return std::all_of(text.begin(), text.end(), predicate);
}

}  // namespace nixery::text
