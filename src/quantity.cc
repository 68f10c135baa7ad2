#include "quantity.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace nixery {

namespace {

using Unit = std::pair<char, std::uint64_t>;

constexpr Unit durations[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86'400}};
constexpr Unit sizes[] = {{'K', 1'000}, {'M', 1'000'000}, {'G', 1'000'000'000}, {'T', 1'000'000'000'000}};
constexpr std::uint64_t longest = 100ULL * 365 * 86'400;
constexpr std::uint64_t largest = 1'000'000'000'000'000'000;

template <std::size_t count>
std::optional<std::uint64_t> parse(std::string_view text, const Unit (&units)[count], std::uint64_t most) {
  std::uint64_t value = 0, factor = 1;
  const char* end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, value);
  if (code != std::errc{}) return std::nullopt;
  if (rest != end) {
    factor = 0;
    for (const auto& [letter, worth] : units)
      if (rest + 1 == end && *rest == letter) factor = worth;
  }
  if (factor == 0 || value > most / factor) return std::nullopt;
  return value * factor;
}

}  // namespace

std::optional<std::chrono::seconds> parse_duration(std::string_view text) {
  const auto seconds = parse(text, durations, longest);
  if (!seconds) return std::nullopt;
  return std::chrono::seconds(*seconds);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  return parse(text, sizes, largest);
}

std::string format_duration(std::chrono::seconds duration) {
  const double seconds = static_cast<double>(duration.count());
  for (const Unit* unit = std::end(durations) - 1; unit != durations; --unit)
    if (seconds >= static_cast<double>(unit->second))
      return fmt::format("{:.3g}{}", seconds / static_cast<double>(unit->second), unit->first);
  return fmt::format("{}s", duration.count());
}

std::string format_size(std::uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

}  // namespace nixery
