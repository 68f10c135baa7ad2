#include "doctor/version.h"

#include <fmt/format.h>

#include <array>

#include "text/ascii.h"

namespace nixery::doctor {

namespace {

constexpr std::array fixed = {Version{2, 28, 6}, Version{2, 29, 3}, Version{2, 30, 4}, Version{2, 31, 4},
                              Version{2, 32, 7}, Version{2, 33, 4}, Version{2, 34, 5}};

// Digits at the front of `text`, taken off it; nullopt for none, or too many.
std::optional<unsigned> take_number(std::string_view& text) {
  unsigned value = 0;
  std::size_t length = 0;
  while (length < text.size() && text::is_digit(text[length])) {
    if (length == 6) return std::nullopt;
    value = value * 10 + static_cast<unsigned>(text[length++] - '0');
  }
  if (length == 0) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

bool take_point(std::string_view& text) {
  if (!text.starts_with('.')) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string Version::str() const {
  return fmt::format("{}.{}.{}", major, minor, patch);
}

std::optional<Version> find_version(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool starts = text::is_digit(text[i]) && (i == 0 || !text::is_digit(text[i - 1]));
    if (!starts) continue;
    std::string_view rest = text.substr(i);
    const auto major = take_number(rest);
    if (!major || !take_point(rest)) continue;
    const auto minor = take_number(rest);
    if (!minor) continue;
    const auto patch = take_point(rest) ? take_number(rest) : std::nullopt;
    return Version{*major, *minor, patch.value_or(0)};
  }
  return std::nullopt;
}

EscapeAdvisories escape_advisories(const Version& nix) {
  if (nix.major != 2 || nix.minor > fixed.back().minor) return {nix.major < 2, std::nullopt};
  for (const Version& version : fixed)
    if (version.minor == nix.minor) return {nix < version, version};
  return {true, std::nullopt};
}

}  // namespace nixery::doctor
