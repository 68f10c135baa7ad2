// Parses and formats quantities in settings and on the command line: "90s", "15m", "12h", "30d"; "500M", "50G", "2T".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nixery {

// A bare number means seconds. At most 100 years; nullopt for anything else.
std::optional<std::chrono::seconds> parse_duration(std::string_view text);
// A bare number means bytes; K, M, G and T are powers of 1000. nullopt for anything else, and for more than 10^18.
std::optional<std::uint64_t> parse_size(std::string_view text);

// "30d", "1.5h", "12s"
std::string format_duration(std::chrono::seconds duration);
// "31.2 MB"
std::string format_size(std::uint64_t bytes);

}  // namespace nixery
