// Encodes and decodes hex, base64 and percent-encoding. Pure. Decoders never throw: they return nullopt for malformed
// text. The size of a result is bounded by three times the input.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/ascii.h"

namespace nixery::text {

inline constexpr std::string_view lower_hex_digits = "0123456789abcdef", upper_hex_digits = "0123456789ABCDEF";

// Two lower-case digits for each byte.
std::string hex(std::string_view bytes);

// `size` lower-case digits: how digests, commits and trace ids are written. Upper case is refused.
bool is_hex(std::string_view text, std::size_t size);

// RFC 4648, section 4, with padding.
std::string base64(std::string_view bytes);

// Of the same alphabet, with padding; blanks and newlines are refused.
std::optional<std::string> base64_decode(std::string_view text);

// The characters that RFC 3986 never encodes.
constexpr bool is_unreserved(char c) {
  return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

// Encodes each byte for which `keep` is false as "%XX". A `keep` that is true for '%' preserves existing escapes.
template <typename Keep = bool (*)(char)>
std::string percent_encode(std::string_view text, Keep&& keep = is_unreserved,
                           std::string_view digits = upper_hex_digits) {
  std::string encoded;
  for (const char c : text) {
    if (keep(c)) {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return encoded;
}

// "%2f" -> "/", with digits of either case; nullopt if an escape is truncated or malformed. A '+' stays.
std::optional<std::string> percent_decode(std::string_view text);

// The same, but malformed escapes stay as they are: how git and browsers read URLs.
std::string percent_decode_leniently(std::string_view text);

}  // namespace nixery::text
