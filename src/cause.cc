#include "cause.h"

#include <algorithm>
#include <utility>

namespace nixery {

namespace {

thread_local Cause current;

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == text.npos;
}

bool is_zero(std::string_view text) {
  return text.find_first_not_of('0') == text.npos;
}

}  // namespace

std::optional<TraceParent> TraceParent::parse(std::string_view text) {
  constexpr std::size_t length = 55;  // of version 00, and of what later ones begin with
  if (text.size() < length || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32), span = text.substr(36, 16),
                         flags = text.substr(53, 2), rest = text.substr(length);
  if (!is_hex(version) || !is_hex(trace) || !is_hex(span) || !is_hex(flags)) return std::nullopt;
  if (version == "ff" || is_zero(trace) || is_zero(span)) return std::nullopt;
  if (!rest.empty() && (version == "00" || rest[0] != '-')) return std::nullopt;
  return TraceParent{std::string(trace), std::string(span), std::string(flags)};
}

std::string TraceParent::str() const {
  return "00-" + trace_id + "-" + span_id + "-" + flags;
}

std::string checked_request_id(std::string_view text) {
  constexpr std::size_t longest = 128;
  constexpr std::string_view signs = "-._~:@+=/";
  const auto fits = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || signs.find(c) != signs.npos;
  };
  return text.size() <= longest && std::all_of(text.begin(), text.end(), fits) ? std::string(text) : std::string();
}

const Cause& current_cause() {
  return current;
}

CauseScope::CauseScope(Cause cause) : before_(std::exchange(current, std::move(cause))) {}

CauseScope::~CauseScope() {
  current = std::move(before_);
}

}  // namespace nixery
