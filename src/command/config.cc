#include "config.h"

#include <fmt/format.h>
#include <unistd.h>

#include "command/command.h"
#include "command/output.h"
#include "command/settings.h"
#include "command/terminal_style.h"
#include "kubernetes/settings.h"
#include "text/plain_text.h"

namespace nixery::command {

namespace {

void print_settings(const std::vector<Setting>& settings) {
  print_json([&](json::Writer& writer) {
    for (const Setting& setting : settings) {
      json::key(writer, setting.name);
      writer.StartObject();
      json::member(writer, "value", setting.value);
      json::member(writer, "origin", setting.from_environment ? "environment" : "default");
      json::member(writer, "description", setting.description);
      writer.EndObject();
    }
  });
}

void print_table(std::string_view heading, const std::vector<SettingDescription>& settings) {
  fmt::print("\n## {}\n\n| variable | default | meaning |\n|---|---|---|\n", heading);
  for (const SettingDescription& setting : settings) {
    const bool quoted = setting.literal && !setting.default_value.empty();
    fmt::print("| `{}` | {} | {} |\n", setting.name,
               quoted ? fmt::format("`{}`", setting.default_value) : setting.default_value, setting.meaning);
  }
}

void print_reference() {
  fmt::print(
      "# Settings\n\n"
      "Settings are environment variables, checked at start. `nixery config` shows their values and where each comes\n"
      "from. This page is printed by `nixery config --markdown`; do not edit it.\n");
  print_table("Of the worker and the commands", described_settings());
  print_table("Of the controller for Kubernetes (`nixery controller`)", kubernetes::described_settings());
}

int run(const Arguments& arguments) {
  if (arguments.json() && arguments.has("--markdown")) throw Misuse{"give either --json or --markdown"};
  if (arguments.has("--markdown")) return print_reference(), 0;
  const auto loaded = load_settings(arguments);
  for (const std::string& problem : strange_settings_of_environment(loaded.settings))
    fmt::print(stderr, "{} {}\n", TerminalStyle::of(STDERR_FILENO).yellow("nixery:"), text::plain_line(problem));
  if (arguments.json()) return print_settings(loaded.settings), 0;
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  for (const Setting& setting : loaded.settings)
    fmt::print("{}={}\n    {}; {}\n", style.bold(setting.name), text::plain_line(setting.value),
               setting.from_environment ? style.green("from the environment") : style.dim("default"),
               setting.description);
  return 0;
}

}  // namespace

const Command config = {
    "config",
    "",
    "show the settings: their values and origins",
    "Prints every setting with its effective value, its origin (environment or default) and its meaning. Credentials\n"
    "are left out. Standard error lists variables that look like settings but are not.\n",
    {json_option,
     settings_option,
     {"--markdown", nullptr, "print every setting, its default and meaning: packaging/SETTINGS.md"}},
    "an object for each setting, under its name: value, origin (environment or default), description",
    {{"nixery config", "show all settings"},
     {"NIXERY_MAX_LAYERS=20 nixery config --json", "as JSON; also checks a value"}},
    "0 if every setting is valid, 1 if not",
    {"doctor", "serve"},
    run};

}  // namespace nixery::command
