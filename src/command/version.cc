#include <fmt/format.h>

#include "command/command.h"
#include "command/output.h"

namespace nixery::command {

namespace {

int run(const Arguments& arguments) {
  if (arguments.json())
    print_json([](json::Writer& writer) { json::member(writer, "version", NIXERY_VERSION); });
  else
    fmt::print("nixery {}\n", NIXERY_VERSION);
  return 0;
}

}  // namespace

const Command version = {
    "version",
    "",
    "print the version",
    "Prints the program's name and version, as --version does.\n",
    {json_option},
    "version",
    {{"nixery version", "nixery " NIXERY_VERSION}, {"nixery version --json", "{\"version\":\"" NIXERY_VERSION "\"}"}},
    "",
    {"config", "doctor"},
    run};

}  // namespace nixery::command
