#include "command/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include "command/terminal_style.h"
#include "text/plain_text.h"

namespace nixery::command {

void report_failure(const char* failure, const std::string& message, const std::string& detail, bool as_json) {
  if (as_json)
    print_json([&](json::Writer& writer) {
      json::key(writer, "error");
      writer.StartObject();
      json::member(writer, "failure", failure);
      json::member(writer, "message", message);
      json::member(writer, "detail", detail);
      writer.EndObject();
    });
  std::fflush(stdout);
  fmt::print(stderr, "{} {}\n", TerminalStyle::of(STDERR_FILENO).red("nixery:"), text::plain_text(message));
  // With --json the program has it already and may log both outputs.
  if (!detail.empty() && !as_json) fmt::print(stderr, "\n{}\n", text::plain_text(detail));
}

}  // namespace nixery::command
