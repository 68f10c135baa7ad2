#include "text/encoding.h"

#include <cstdint>

#include "text/number.h"

namespace nixery::text {

namespace {

constexpr std::string_view base64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Decodes the escape "%XX" at `at`.
std::optional<char> escape_at(std::string_view text, std::size_t at) {
  const auto byte = number<std::uint8_t>(text.substr(at + 1, 2), 16);
  return byte && at + 2 < text.size() ? std::optional(static_cast<char>(*byte)) : std::nullopt;
}

}  // namespace

std::string hex(std::string_view bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += {lower_hex_digits[byte >> 4], lower_hex_digits[byte & 15]};
  }
  return text;
}

bool is_hex(std::string_view text, std::size_t size) {
  return text.size() == size && text.find_first_not_of(lower_hex_digits) == text.npos;
}

std::string base64(std::string_view bytes) {
  std::string text;
  std::uint32_t bits = 0;
  int count = 0;  // number of bits that are not written yet
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) text += base64_digits[bits >> (count - 6) & 63];
  }
  if (count > 0) text += base64_digits[bits << (6 - count) & 63];
  text.resize((text.size() + 3) / 4 * 4, '=');
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const auto digit = base64_digits.find(c);
    if (digit == base64_digits.npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if ((count += 6) >= 8) bytes += static_cast<char>(bits >> (count -= 8));
  }
  return bytes;
}

std::optional<std::string> percent_decode(std::string_view text) {
  for (auto at = text.find('%'); at != text.npos; at = text.find('%', at + 3))
    if (!escape_at(text, at)) return std::nullopt;
  return percent_decode_leniently(text);
}

std::string percent_decode_leniently(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = text[i] == '%' ? escape_at(text, i) : std::nullopt;
    decoded += byte.value_or(text[i]);
    if (byte) i += 2;
  }
  return decoded;
}

}  // namespace nixery::text
