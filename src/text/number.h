// Parses numbers, independent of the locale. Pure.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace nixery::text {

// Parses all of `text` as a number without blanks, prefix or sign (except '-' for a signed type). nullopt for anything
// else, and if it does not fit into `Number`.
template <typename Number>
std::optional<Number> number(std::string_view text, int base = 10) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, value, base);
  return code == std::errc{} && rest == end ? std::optional(value) : std::nullopt;
}

}  // namespace nixery::text
