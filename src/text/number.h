// Numbers in text, whatever the locale. Pure.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace nixery::text {

// The number that is the whole of `text`, without sign (but a '-' for a signed type), blanks or prefix. nullopt for
// anything else, and if `Number` cannot hold it.
template <typename Number>
std::optional<Number> number(std::string_view text, int base = 10) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, value, base);
  return code == std::errc{} && rest == end ? std::optional(value) : std::nullopt;
}

}  // namespace nixery::text
