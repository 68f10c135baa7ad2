// Runs child processes from an argument vector, without a shell.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::os {

struct Command {
  std::vector<std::string> argv;              // argv[0] is looked up in PATH
  std::map<std::string, std::string> env;     // added to ours, as is TRACEPARENT; an empty value removes the variable
  std::string input;                          // its standard input; /dev/null if empty
  std::optional<std::chrono::seconds> limit;  // after it, the whole process group is stopped
  std::uint64_t memory_limit = 0;             // bytes of address space (RLIMIT_AS); 0: none
  std::size_t output_limit = 256u << 20;      // bytes of standard output; more is an error
  // Called with each line of standard error, on the calling thread, as it comes.
  std::function<void(std::string_view)> on_error_line;
  std::stop_token stop;  // the group is stopped
};

struct ProcessResult {
  enum class End { exited, signalled, timed_out, stopped, output_too_large };
  End end = End::exited;
  int code = 0;            // exit status, or the signal's number
  std::string output;      // standard output
  std::string error_tail;  // the last 64 KiB of standard error

  bool ok() const { return end == End::exited && code == 0; }
  std::string describe() const;  // "exited with status 1", "was killed by signal 9", "ran longer than 60 s"
};

// Runs `command` to its end in its own process group. Both outputs are read at the same time, so a full pipe cannot
// deadlock. To stop it, the group gets SIGTERM, and SIGKILL 3 s later if the child still runs. When the child ends, the
// rest of its group is killed. Throws Error{unavailable} if the program cannot be started or watched. Thread-safe.
ProcessResult run(const Command& command);

// "nix-store --realise …", for logs and messages.
std::string to_string(const std::vector<std::string>& argv);

}  // namespace nixery::os
