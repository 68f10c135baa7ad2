// nixery: a container registry that builds an image from its name when it is pulled.
#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "command/command.h"
#include "error.h"

namespace {

using nixery::command::Command;
using nixery::command::Words;

constexpr const Command* commands[] = {
    &nixery::command::serve,      &nixery::command::build,  &nixery::command::plan, &nixery::command::export_images,
    &nixery::command::popularity, &nixery::command::images, &nixery::command::gc,   &nixery::command::verify,
    &nixery::command::controller, &nixery::command::config};

void print_help() {
  fmt::print("nixery {}: a container registry that builds an image from its name when it is pulled\n\n",
             NIXERY_VERSION);
  for (const Command* command : commands) fmt::print("  nixery {:10} {}\n", command->name, command->summary);
  fmt::print(
      "  nixery {:10} show what a command does and takes\n\n"
      "Exit status: 0 done, 1 failed, 2 used wrongly.\n"
      "Try it:  nixery plan shell/git     then     nixery build shell/git\n",
      "help");
}

const Command* find(std::string_view name) {
  for (const Command* command : commands)
    if (command->name == name) return command;
  return nullptr;
}

int help(Words words) {
  const Command* command = words.empty() ? nullptr : find(words[0]);
  if (!command) return print_help(), 0;
  fmt::print("{}\n\n{}", command->synopsis, command->help);
  return 0;
}

int run(Words words) {
  // A web server that starts a CGI program gives it no words.
  if (words.empty() && std::getenv("GATEWAY_INTERFACE")) return nixery::command::serve.run({});
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help")
    return help(words.empty() ? words : words.subspan(1));
  if (words[0] == "--version") return fmt::print("nixery {}\n", NIXERY_VERSION), 0;

  const Command* command = find(words[0]);
  if (!command) {
    fmt::print(stderr, "nixery: there is no command '{}'; `nixery help` lists them\n", words[0]);
    return 2;
  }
  for (const std::string_view word : words.subspan(1))
    if (word == "--help" || word == "-h") return help(words);
  try {
    return command->run(words.subspan(1));
  } catch (const nixery::command::Misuse& misuse) {
    fmt::print(stderr, "nixery: {}\nusage: {}\n", misuse.reason, command->synopsis);
    return 2;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a peer that hangs up is an error of one write, not our end
  try {
    return run(std::vector<std::string_view>(argv + 1, argv + argc));
  } catch (const nixery::Error& error) {
    fmt::print(stderr, "nixery: {}\n", error.what());
    if (!error.detail().empty()) fmt::print(stderr, "\n{}\n", error.detail());
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "nixery: {}\n", error.what());
    return 1;
  }
}
