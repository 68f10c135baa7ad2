// The --json output of all commands.
#pragma once

#include <cstdio>
#include <string>

#include "command/command.h"
#include "json/json.h"
#include "text/plain_text.h"

namespace nixery::command {

inline constexpr Option json_option = {"--json", nullptr, "print the result as JSON"};

// One line on standard output, an object with the members that `write(json::Writer&)` writes.
template <typename Write>
void print_json(Write&& write) {
  const std::string text = text::plain_json(json::object(std::forward<Write>(write))) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

// Prints a failure to standard error and, with --json, also to standard output. `failure` is a name of error.h, or
// "misuse".
void report_failure(const char* failure, const std::string& message, const std::string& detail, bool as_json);

}  // namespace nixery::command
