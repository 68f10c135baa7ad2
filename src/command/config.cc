#include "config.h"

#include <fmt/format.h>

#include "command/command.h"
#include "command/registry_parts.h"
#include "json/json.h"

namespace nixery::command {

namespace {

void print_json(const std::vector<Setting>& settings) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  for (const Setting& setting : settings) {
    json::key(writer, setting.name);
    writer.StartObject();
    json::member(writer, "value", setting.value);
    json::member(writer, "origin", setting.from_environment ? "environment" : "default");
    json::member(writer, "description", setting.description);
    writer.EndObject();
  }
  writer.EndObject();
  fmt::print("{}\n", buffer.GetString());
}

int run(Words words) {
  const auto loaded = load_config_from_environment();
  for (const std::string& problem : strange_settings_of_environment(loaded.settings))
    fmt::print(stderr, "nixery: {}\n", problem);
  if (words.empty()) {
    for (const Setting& setting : loaded.settings)
      fmt::print("{}={}\n    {}; {}\n", setting.name, setting.value,
                 setting.from_environment ? "from the environment" : "default", setting.description);
    return 0;
  }
  if (words.size() == 1 && words[0] == "--json") return print_json(loaded.settings), 0;
  if (words.size() == 1 && words[0] == "--markdown") {
    fmt::print("| variable | default | meaning |\n|---|---|---|\n");
    for (const Setting& setting : loaded.settings)
      fmt::print("| `{}` | {} | {} |\n", setting.name, setting.value.empty() ? "" : "`" + setting.value + "`",
                 setting.description);
    return 0;
  }
  throw Misuse{"config takes --json, --markdown or nothing"};
}

}  // namespace

const Command config = {"config", "nixery config [--json | --markdown]",
                        "show the settings: their values and where each comes from",
                        "Prints every setting with its effective value, whether it is from the environment or the "
                        "default, and what it means.\n"
                        "Credentials are left out. --markdown prints the table of the README.\n",
                        run};

}  // namespace nixery::command
