// The commands of the program, one file each. What a command takes is declared once, in its Command: its help, the
// manual page, the completions and the reading of its words all come from there.
//
// Exit status: 0 done, 1 failed, 2 used wrongly. With --json, standard output has JSON and nothing else: the result, or
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
  const char* value;    // what stands behind it: "DIR"; null where nothing does
  const char* meaning;  // with its default, if it has one
  bool repeatable = false;
};

struct Example {
  const char* line;
  const char* meaning;
};

struct Command {
  const char* name;
  const char* operands;     // "DIR REF…"; empty where it takes options only
  const char* summary;      // one line of the list of commands
  const char* description;  // sentences in lines of 110 columns or less
  std::vector<Option> options;
  const char* json_keys;  // of what --json prints, as help shows them; empty where there is no --json
  std::vector<Example> examples;
  const char* status;                // what 0 and 1 mean, where it is more than "done" and "failed"; else empty
  std::vector<const char*> related;  // names of commands
  int (*run)(const Arguments& arguments);
};

extern const Command serve, build, plan, export_images, popularity, images, gc, verify, doctor, controller, config,
    version;

// All of them, in the order of the list.
std::span<const Command* const> all_commands();
// nullptr where there is none of that name.
const Command* find_command(std::string_view name);
// ": did you mean 'build'?", or what to do where nothing is near.
std::string near_command(std::string_view name);

// "nixery build [--json] [--oci DIR] REF"
std::string synopsis_of(const Command& command);
// What `nixery help` and `nixery help COMMAND` print.
void print_overview();
void print_help(const Command& command);

}  // namespace nixery::command
