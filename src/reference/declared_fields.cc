#include "reference/declared_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "text/ascii.h"
#include "text/number.h"
#include "text/plain_text.h"

namespace nixery::reference {

namespace {

constexpr std::size_t max_name = 255;
constexpr std::size_t max_components = 8;
constexpr std::size_t max_path = 4095;  // PATH_MAX without its NUL

// The first character is a letter or in `first`; the others are letters, digits or in `rest`.
bool is_word(std::string_view text, std::string_view first, std::string_view rest) {
  if (text.empty() || !(text::is_letter(text[0]) || first.find(text[0]) != first.npos)) return false;
  return text::all(text.substr(1), [&](char c) { return text::is_alnum(c) || rest.find(c) != rest.npos; });
}

// Decimal, without sign or leading zeros.
bool is_number(std::string_view text, std::uint64_t least, std::uint64_t most) {
  if (text.size() > 1 && text[0] == '0') return false;
  const auto value = text::number<std::uint64_t>(text);
  return value && *value >= least && *value <= most;
}

}  // namespace

bool is_attribute_path(std::string_view text) {
  if (text.size() > max_name) return false;
  for (std::size_t components = 1;; ++components) {
    const auto dot = text.find('.');
    if (components > max_components || !is_word(text.substr(0, dot), "_0123456789", "_'+-")) return false;
    if (dot == text.npos) return true;
    text.remove_prefix(dot + 1);
  }
}

bool is_variable_name(std::string_view text) {
  return text.size() <= max_name && is_word(text, "_.-", "_.-");
}

bool is_label_name(std::string_view text) {
  return text.size() <= max_name && is_word(text, "0123456789", "._/-") && text::is_alnum(text.back());
}

bool is_workdir(std::string_view text) {
  if (!text.starts_with('/') || text.size() > max_path) return false;
  if (std::ranges::any_of(text, text::is_control)) return false;
  return fmt::format("{}/", text).find("/../") == std::string::npos;
}

std::optional<std::string> port_of(std::string_view text) {
  const auto slash = text.find('/');
  const std::string_view number = text.substr(0, slash);
  const std::string_view protocol = slash == text.npos ? "tcp" : text.substr(slash + 1);
  if (!is_number(number, 1, 65535)) return std::nullopt;
  if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") return std::nullopt;
  return fmt::format("{}/{}", number, protocol);
}

bool is_signal(std::string_view text) {
  if (is_number(text, 1, 64)) return true;
  constexpr std::array names = {"HUP",  "INT",   "QUIT", "ILL",  "TRAP",  "ABRT", "BUS",  "FPE",    "KILL",
                                "USR1", "SEGV",  "USR2", "PIPE", "ALRM",  "TERM", "CHLD", "STKFLT", "CONT",
                                "STOP", "TSTP",  "TTIN", "TTOU", "URG",   "XCPU", "XFSZ", "PROF",   "VTALRM",
                                "IO",   "WINCH", "PWR",  "SYS",  "RTMIN", "POLL", "IOT",  "CLD",    "RTMAX"};
  if (!text.starts_with("SIG")) return false;
  text.remove_prefix(3);
  if (text.starts_with("RTMIN+")) return is_number(text.substr(6), 1, 15);
  if (text.starts_with("RTMAX-")) return is_number(text.substr(6), 1, 14);
  return std::ranges::find(names, text) != names.end();
}

std::optional<std::chrono::milliseconds> healthcheck_time(std::string_view text) {
  using namespace std::chrono_literals;
  constexpr std::chrono::milliseconds most = 24h;
  std::chrono::milliseconds sum{0};
  while (!text.empty()) {
    const auto digits = text.find_first_not_of("0123456789");
    if (digits == text.npos) return std::nullopt;
    const auto count = text::number<std::uint32_t>(text.substr(0, digits));
    const auto unit = text.substr(digits, text.find_first_of("0123456789", digits) - digits);
    const std::chrono::milliseconds worth = unit == "h" ? 1h : unit == "m" ? 1min : unit == "s" ? 1s : 1ms;
    if (!count || *count > most / 1ms || (worth == 1ms && unit != "ms")) return std::nullopt;
    sum += *count * worth;
    if (sum > most) return std::nullopt;
    text.remove_prefix(digits + unit.size());
  }
  return sum > 0ms ? std::optional(sum) : std::nullopt;
}

std::optional<std::string> problem_of_image_path(std::string_view path) {
  const auto problem = [&](std::string_view what) { return fmt::format("{} {}", text::in_quotes(path), what); };
  if (!path.starts_with('/') || path == "/") return problem("is not an absolute path in the image, such as \"/srv\"");
  if (path.size() > max_path)
    return fmt::format("this is {} bytes long; at most {} are allowed", path.size(), max_path);
  if (std::ranges::any_of(path, text::is_control)) return problem("has a control character");
  const std::string whole = fmt::format("{}/", path);
  for (const char* part : {"//", "/./", "/../"})
    if (whole.find(part) != whole.npos) return problem("has an empty part, '.' or '..': give the path without it");
  for (const char* top : {"/nix/", "/proc/", "/sys/", "/dev/"})
    if (whole.starts_with(top)) return problem("is in a directory of the packages or of the container runtime");
  return std::nullopt;
}

}  // namespace nixery::reference
