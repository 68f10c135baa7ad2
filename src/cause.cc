#include "cause.h"

#include <utility>

#include "text/encoding.h"

namespace nixery {

namespace {

thread_local Cause current;

bool is_zero(std::string_view text) {
  return text.find_first_not_of('0') == text.npos;
}

}  // namespace

std::optional<TraceParent> TraceParent::parse(std::string_view text) {
  constexpr std::size_t length = 55;  // length of version 00, with which later versions begin
  if (text.size() < length || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32), span = text.substr(36, 16),
                         flags = text.substr(53, 2), rest = text.substr(length);
  if (!text::is_hex(version, 2) || !text::is_hex(trace, 32) || !text::is_hex(span, 16) || !text::is_hex(flags, 2))
    return std::nullopt;
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
  const auto fits = [&](char c) { return text::is_alnum(c) || signs.find(c) != signs.npos; };
  return text.size() <= longest && text::all(text, fits) ? std::string(text) : std::string();
}

const Cause& current_cause() {
  return current;
}

CauseScope::CauseScope(Cause cause) : before_(std::exchange(current, std::move(cause))) {}

CauseScope::~CauseScope() {
  current = std::move(before_);
}

}  // namespace nixery
