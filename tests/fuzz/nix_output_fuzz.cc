// Nix's standard error during evaluations and builds: its last error, its steps, its log, and the resulting messages to
// clients.
#include "check.h"
#include "http/answers.h"
#include "nix/error_message.h"
#include "nix/fixed_output.h"
#include "nix/log_line.h"
#include "nix/nix.h"
#include "pipeline/progress.h"

using namespace nixery;
using fuzz::require;

namespace {

// Clients print it to a terminal unchanged.
void require_answerable(const Error& error) {
  const auto document = fuzz::strict_json(http::answer_error(error).body);
  require(!document.HasParseError(), "a response is JSON and therefore UTF-8", error.what());
  const auto& value = document["errors"][0]["message"];
  const std::string_view message(value.GetString(), value.GetStringLength());
  for (std::size_t i = 0; i < message.size(); ++i) {
    const char c = message[i];
    require(c == '\n' || c == '\t' || fuzz::is_one_line({&c, 1}), "no control character goes to the client", message);
    // U+0080 to U+009F, which terminals also interpret as controls.
    require(c != '\xc2' || static_cast<unsigned char>(message[i + 1]) >= 0xa0, "no C1 control goes to the client",
            message);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view printed = fuzz::text_of(data, size);

  const std::string message = nix::error_message(printed);
  require(message.find('\n') == message.npos && message.find("  ") == message.npos && !message.ends_with(' '),
          "the message is one line without runs of spaces", message);
  require(message.size() <= 600, "the message is short", message);
  require(message.empty() || printed.find("error: ") != printed.npos, "no error, no message", message);
  if (!message.empty())
    require(nix::error_message("error: " + message).size() <= message.size(),
            "parsing a message again does not lengthen it", message);
  require(!nix::is_fixed_output(printed) || printed.starts_with("Derive("), "a fetch is a derivation", printed);
  require_answerable(Error(Failure::evaluation_failed, "package 'x' cannot be evaluated: " + message));
  require_answerable(Error(Failure::build_failed, "the build failed: " + message, std::string(printed)));

  for (std::string_view rest = printed; !rest.empty();) {
    const std::string_view line = fuzz::take_until(rest, '\n');
    const nix::LogLine said = nix::read_log_line(line);
    require(said.kind != nix::LogLine::Kind::nothing || (said.text.empty() && said.activity == 0),
            "unknown lines have no text", said.text);
    require(said.kind != nix::LogLine::Kind::error || line.starts_with("@nix "), "nix's own messages come from its log",
            line);
    require(nix::without_quotes(said.text).size() <= said.text.size(), "an error without quotes is no longer",
            said.text);
    require(nix::without_quotes(nix::without_quotes(said.text)).size() <= nix::without_quotes(said.text).size(),
            "removing quotes again does not lengthen it", said.text);
    std::string step = pipeline::step_of_nix_line(line);
    if (step.empty()) continue;
    require(step.size() <= line.size(), "a step is shorter than its line", step);
    require(step.starts_with("building ") || step.starts_with("fetching ") || step.starts_with("downloading "),
            "a step names an action", step);
    require(step.find('/') == step.npos && step.find('\'') == step.npos, "a step has a name in it, not a path", step);
    pipeline::Snapshot snapshot;
    snapshot.phase = pipeline::Phase::realising;
    snapshot.step = std::move(step);
    require_answerable(Error(Failure::still_building, snapshot.text()));
  }
  return 0;
}
