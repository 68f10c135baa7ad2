// The commands of the program, one file each. They get the words behind their name and return the exit status:
// 0 done, 1 failed, 2 used wrongly.
#pragma once

#include <span>
#include <string_view>

namespace nixery::command {

using Words = std::span<const std::string_view>;

struct Command {
  const char* name;
  const char* synopsis;  // "nixery build [--oci DIR | …] REF"
  const char* summary;   // one line of the list of commands
  const char* help;
  int (*run)(Words words);
};

// Thrown for wrong words: the message and the command's synopsis are shown.
struct Misuse {
  const char* reason;
};

extern const Command serve, build, plan, export_images, popularity, images, gc, verify, controller, config;

}  // namespace nixery::command
