#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "command/arguments.h"
#include "command/command.h"
#include "command/terminal_style.h"

using namespace nixery;

TEST_CASE("terminals get colours, subject to NO_COLOR, TERM and CLICOLOR_FORCE") {
  using Variables = std::map<std::string, std::string>;
  const auto wants = [](bool terminal, const Variables& variables) {
    return command::wants_colours(terminal, [&](const char* name) {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    });
  };
  CHECK(wants(true, {{"TERM", "xterm"}}));
  CHECK_FALSE(wants(true, {{"TERM", "dumb"}}));
  CHECK_FALSE(wants(true, {}));
  CHECK_FALSE(wants(false, {{"TERM", "xterm"}}));
  CHECK_FALSE(wants(true, {{"TERM", "xterm"}, {"NO_COLOR", "1"}}));
  CHECK(wants(true, {{"TERM", "xterm"}, {"NO_COLOR", ""}}));  // no-color.org: set and not empty
  CHECK(wants(false, {{"CLICOLOR_FORCE", "1"}}));
  CHECK_FALSE(wants(false, {{"CLICOLOR_FORCE", "0"}}));
  CHECK_FALSE(wants(false, {{"CLICOLOR_FORCE", "1"}, {"NO_COLOR", "1"}}));
  CHECK(command::TerminalStyle(true).red("x") == "\033[1;31mx\033[0m");
  CHECK(command::TerminalStyle(false).red("x") == "x");
}

namespace {

command::Arguments parse(const command::Command& command, std::vector<std::string_view> words) {
  return command::Arguments::parse(command, words);
}

std::string misuse_of(const command::Command& command, const std::vector<std::string_view>& words) {
  try {
    command::Arguments::parse(command, words);
  } catch (const command::Misuse& misuse) {
    return misuse.reason;
  }
  return {};
}

}  // namespace

TEST_CASE("options can be anywhere, with the value as the next argument or after '='") {
  const auto arguments = parse(command::gc, {"--keep", "a", "--json", "--keep=b=c", "--max-age", "1d"});
  CHECK(arguments.json());
  CHECK_FALSE(arguments.has("--dry-run"));
  CHECK(arguments.values("--keep") == std::vector<std::string_view>{"a", "b=c"});
  CHECK(arguments.value("--max-age") == "1d");
  CHECK_FALSE(arguments.value("--grace").has_value());
  CHECK(parse(command::build, {"shell", "--oci", "-x"}).value("--oci") == "-x");
  CHECK(parse(command::export_images, {"--", "--dir", "a"}).operands() == std::vector<std::string_view>{"--dir", "a"});
}

TEST_CASE("wrong arguments are reported with the nearest valid ones") {
  CHECK(misuse_of(command::build, {"--ocl", "x"}) == "unknown option '--ocl': did you mean '--oci'?");
  CHECK(misuse_of(command::gc, {"--dryrun"}) == "unknown option '--dryrun': did you mean '--dry-run'?");
  CHECK(misuse_of(command::gc, {"-v"}).find("`nixery help gc`") != std::string::npos);
  CHECK(misuse_of(command::gc, {"x"}) == "'x': gc takes options only");
  CHECK(misuse_of(command::build, {"--oci"}) == "--oci needs a value: --oci DIR");
  CHECK(misuse_of(command::build, {"--json=1"}) == "--json takes no value");
  CHECK(command::near_command("biuld") == ": did you mean 'build'?");
  CHECK(command::near_command("frobnicate").find("`nixery help`") != std::string::npos);
}

TEST_CASE("every command's help is complete") {
  for (const command::Command* command : command::all_commands()) {
    CAPTURE(command->name);
    CHECK(std::string(command->summary).size() > 10);
    CHECK(std::string(command->description).ends_with("\n"));
    CHECK(command->examples.size() == 2);
    CHECK_FALSE(command->related.empty());
    for (const char* related : command->related) CHECK(command::find_command(related) != nullptr);
    // A command with --json documents its output.
    bool has_json = false;
    for (const command::Option& option : command->options) has_json |= std::string_view(option.name) == "--json";
    CHECK(has_json == (*command->json_keys != 0));
  }
}
