// nixery: a container registry that builds an image from its name when it is pulled.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "command/command.h"
#include "command/output.h"
#include "error.h"
#include "os/fd.h"

namespace {

using namespace nixery::command;

bool is_help(std::string_view word) {
  return word == "--help" || word == "-h";
}

bool asks_for_json(Words words) {
  return std::ranges::find(words, "--json") != words.end();
}

int misused(const std::string& reason, const std::string& usage, bool as_json) {
  report_failure("misuse", reason, usage, as_json);
  return 2;
}

int help(Words words) {
  if (words.empty() || is_help(words[0]) || words[0] == "help") return print_overview(), 0;
  const Command* command = find_command(words[0]);
  if (!command) return misused(fmt::format("there is no command '{}'{}", words[0], near_command(words[0])), "", false);
  print_help(*command);
  return 0;
}

int run(Words words) {
  // A web server starts a CGI program without arguments.
  if (words.empty() && std::getenv("GATEWAY_INTERFACE")) return serve.run({});
  if (words.empty() || is_help(words[0]) || words[0] == "help") return help(words.empty() ? words : words.subspan(1));
  if (words[0] == "--version") return version.run({});

  const Command* command = find_command(words[0]);
  if (!command)
    return misused(fmt::format("there is no command '{}'{}", words[0], near_command(words[0])), "",
                   asks_for_json(words));
  if (std::ranges::any_of(words.subspan(1), is_help)) return print_help(*command), 0;
  try {
    return command->run(Arguments::parse(*command, words.subspan(1)));
  } catch (const Misuse& misuse) {
    return misused(misuse.reason, "usage: " + synopsis_of(*command), asks_for_json(words));
  }
}

void report_lost_output() {
  fmt::print(stderr, "nixery: cannot write to standard output\n");
}

}  // namespace

int main(int argc, char** argv) {
  nixery::os::open_standard_descriptors();  // first, or else the next file that is opened would become standard output
  std::signal(SIGPIPE, SIG_IGN);            // a closed connection must fail one write, not end the process
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  try {
    const int status = run(words);
    if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return status;
    report_lost_output();
  } catch (const nixery::Error& error) {
    report_failure(name_of(error.failure()), error.what(), error.detail(), asks_for_json(words));
    const bool of_the_set_up = error.failure() == nixery::Failure::bad_config ||
                               error.failure() == nixery::Failure::unavailable ||
                               error.failure() == nixery::Failure::storage;
    if (of_the_set_up && isatty(STDERR_FILENO)) fmt::print(stderr, "`nixery doctor` checks the whole set-up.\n");
  } catch (const std::exception& error) {
    if (std::ferror(stdout)) {  // thrown by fmt::print() on a write error
      report_lost_output();
      return 1;
    }
    report_failure("unknown", error.what(), {}, asks_for_json(words));
  }
  return 1;
}
