#include "nix/log_line.h"

#include "error.h"
#include "json/json.h"
#include "text/lines.h"
#include "text/plain_text.h"

namespace nixery::nix {

namespace {

constexpr std::string_view mark = "@nix ";
// Of nix's ActivityType, ResultType and Verbosity.
constexpr std::int64_t build = 105;
constexpr std::int64_t build_log_line = 101, post_build_log_line = 107;
constexpr std::int64_t error_level = 0, info_level = 3;

// They are never 0.
std::uint64_t activity_of(const json::Value& said) {
  const json::Value* id = json::find(said, "id");
  return id && id->IsUint64() ? id->GetUint64() : 0;
}

bool tells_of_failure(std::string_view text) {
  return text.starts_with("error:") || text.starts_with("note: build failure may have been caused by");
}

LogLine message(const json::Value& said) {
  std::string text = text::plain_text(json::string_or(said, "msg", ""));
  if (text.empty()) return {};  // Nix 2.34 prints an empty error between others
  // What is an error to nix itself has its bare sentence beside it, which no other message has.
  if (json::find(said, "raw_msg") && json::integer_at(said, "level").value_or(error_level) == error_level)
    return {LogLine::Kind::error, std::move(text)};
  const auto kind = tells_of_failure(text) ? LogLine::Kind::relayed : LogLine::Kind::notice;
  return {kind, std::move(text)};
}

LogLine result(const json::Value& said) {
  const auto type = json::integer_at(said, "type");
  if (type != build_log_line && type != post_build_log_line) return {};
  auto fields = json::strings_at(said, "fields");
  return fields.empty() ? LogLine{}
                        : LogLine{LogLine::Kind::builder, text::plain_text(fields.front()), activity_of(said)};
}

LogLine activity(const json::Value& said) {
  std::string text = text::plain_text(json::string_or(said, "text", ""));
  if (text.empty() || json::integer_at(said, "level").value_or(info_level) > info_level) return {};
  LogLine line{LogLine::Kind::notice, text + "...", activity_of(said)};
  if (json::integer_at(said, "type") == build)
    if (auto fields = json::strings_at(said, "fields"); !fields.empty()) line.derivation = std::move(fields.front());
  return line;
}

}  // namespace

LogLine read_log_line(std::string_view line) {
  if (!line.starts_with(mark))  // before nix has read its options, and from programs that it runs
    return {tells_of_failure(line) ? LogLine::Kind::relayed : LogLine::Kind::notice, text::plain_text(line)};
  try {
    const auto said = json::parse(line.substr(mark.size()), "a line of nix's log");
    if (!said.IsObject()) return {};
    const std::string action = json::string_or(said, "action", "");
    if (action == "msg") return message(said);
    if (action == "result") return result(said);
    if (action == "start") return activity(said);
  } catch (const Error&) {  // cut off in the middle: too long a line, or nix was killed
  }
  return {};
}

std::string without_quotes(std::string_view error) {
  const auto introduces = [](std::string_view text) {
    return ((text.starts_with("last ") || text.starts_with("Last ")) && text.ends_with(" log lines:")) ||
           text.starts_with("For full logs, run") || text.starts_with("nix log /");
  };
  std::string kept;
  text::for_each_line(error, [&](std::string_view line) {
    const auto start = line.find_first_not_of(' ');
    const std::string_view text = start == line.npos ? "" : line.substr(start);
    if (text == ">" || text.starts_with("> ")) return;
    if (introduces(text)) {
      if (kept.ends_with(';')) kept.pop_back();
      return;
    }
    if (!kept.empty()) kept += '\n';
    kept += line;
  });
  return kept;
}

}  // namespace nixery::nix
