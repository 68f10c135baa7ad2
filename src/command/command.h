// The commands of the program, one file each. A command declares its options and operands once, in its Command: help,
// manual page, completions and argument parsing are derived from that.
//
// Exit status: 0 done, 1 failed, 2 used wrongly. With --json, standard output has only JSON: the result, or
// {"error":{"failure":…,"message":…,"detail":…}}, where `failure` is a name of error.h's or "misuse".
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "command/arguments.h"

namespace nixery::command {

struct Option {
  const char* name;     // "--oci"
  const char* value;    // its value: "DIR"; null if it takes none
  const char* meaning;  // including its default, if any
  bool repeatable = false;
};

struct Example {
  const char* line;
  const char* meaning;
};

struct Command {
  const char* name;
  const char* operands;     // "DIR REF…"; empty if it takes only options
  const char* summary;      // one line of the list of commands
  const char* description;  // sentences in lines of 110 columns or less
  std::vector<Option> options;
  const char* json_keys;  // keys of the --json output, for help; empty if it has no --json
  std::vector<Example> examples;
  const char* status;                // meaning of 0 and 1 if not just "done" and "failed"; else empty
  std::vector<const char*> related;  // names of commands
  int (*run)(const Arguments& arguments);
};

extern const Command serve, build, plan, export_images, popularity, images, gc, verify, doctor, controller, config,
    version;

// All commands, in the order of `nixery help`.
std::span<const Command* const> all_commands();
// nullptr if there is no command of that name.
const Command* find_command(std::string_view name);
// ": did you mean 'build'?", or a hint at `nixery help`.
std::string near_command(std::string_view name);

// "nixery build [--json] [--oci DIR] REF"
std::string synopsis_of(const Command& command);
// Print the output of `nixery help` and `nixery help COMMAND`.
void print_overview();
void print_help(const Command& command);

}  // namespace nixery::command
