#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>

#include "command/command.h"
#include "command/terminal_style.h"
#include "reference/near_matches.h"

namespace nixery::command {

namespace {

constexpr const Command* commands[] = {&serve, &build,  &plan,   &export_images, &popularity, &images,
                                       &gc,    &verify, &doctor, &controller,    &config,     &version};

std::string usage_of(const Option& option) {
  return option.value ? fmt::format("{} {}", option.name, option.value) : option.name;
}

}  // namespace

std::span<const Command* const> all_commands() {
  return commands;
}

const Command* find_command(std::string_view name) {
  const auto found = std::ranges::find_if(commands, [&](const Command* command) { return command->name == name; });
  return found == std::end(commands) ? nullptr : *found;
}

std::string near_command(std::string_view name) {
  std::vector<std::string> names = {"help"};
  for (const Command* command : commands) names.emplace_back(command->name);
  const auto near = reference::near_matches(name, names, 1);
  return near.empty() ? "; `nixery help` lists them" : fmt::format(": did you mean '{}'?", near[0]);
}

std::string synopsis_of(const Command& command) {
  std::string text = fmt::format("nixery {}", command.name);
  for (const Option& option : command.options)
    text += fmt::format(" [{}]{}", usage_of(option), option.repeatable ? "…" : "");
  if (*command.operands) text += fmt::format(" {}", command.operands);
  return text;
}

void print_overview() {
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  fmt::print("{} {}: a container registry that builds an image from its name when it is pulled\n\n",
             style.bold("nixery"), NIXERY_VERSION);
  for (const Command* command : commands)
    fmt::print("  nixery {} {}\n", style.bold(fmt::format("{:10}", command->name)), command->summary);
  fmt::print("  nixery {} show what a command does and takes\n\n", style.bold(fmt::format("{:10}", "help")));
  fmt::print(
      "Exit status: 0 done, 1 failed, 2 used wrongly. With --json a command prints its result, or\n"
      "{{\"error\":{{\"failure\":…,\"message\":…,\"detail\":…}}}}, as JSON on standard output.\n"
      "Try it:  nixery doctor     then     nixery plan shell/git     and     nixery build shell/git\n");
}

void print_help(const Command& command) {
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  fmt::print("{}\n\n{}", synopsis_of(command), command.description);
  if (!command.options.empty()) {
    std::size_t width = 0;
    for (const Option& option : command.options) width = std::max(width, usage_of(option).size());
    fmt::print("\n{}\n", style.bold("Options:"));
    for (const Option& option : command.options)
      fmt::print("  {:{}}  {}{}\n", usage_of(option), width, option.meaning,
                 option.repeatable ? "; may be repeated" : "");
  }
  if (*command.json_keys) fmt::print("\n{}\n  {}\n", style.bold("JSON:"), command.json_keys);
  fmt::print("\n{}\n", style.bold("Examples:"));
  for (const Example& example : command.examples) fmt::print("  {}\n      {}\n", example.line, example.meaning);
  fmt::print("\n{} {}, 2 used wrongly.\n", style.bold("Exit status:"),
             *command.status ? command.status : "0 done, 1 failed");
  std::vector<std::string> related;
  for (const char* name : command.related) related.push_back(fmt::format("nixery help {}", name));
  fmt::print("{} {}\n", style.bold("See also:"), fmt::join(related, ", "));
}

}  // namespace nixery::command
