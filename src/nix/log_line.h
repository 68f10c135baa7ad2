// A line that nix prints under --log-format internal-json, which separates Nix's own messages from builders' output
// (Nix manual, "--log-format": "the schema itself is relatively stable"; the same from 2.8 to 2.34). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nixery::nix {

struct LogLine {
  enum class Kind {
    nothing,  // progress and internal lines
    builder,  // output of a builder
    notice,   // Nix's actions and warnings
    error,    // Nix's reason of a failure
    // An error that came through nix-daemon, which says no more of where it is from. So a builder that speaks this log
    // format itself can make one up, about its own failure.
    relayed,
  };
  Kind kind = Kind::nothing;
  std::string text;  // for people: plain text (text/plain_text.h), as nix shows it otherwise; may be several lines
  // Of a builder's line, and of the notice that its build begins, which names the derivation ("/nix/store/….drv").
  std::uint64_t activity = 0;
  std::string derivation = {};
};

LogLine read_log_line(std::string_view line);

// The lines of a failed build that an error quotes, each behind "> ", are a builder's words again: the error without
// them, and without what introduces them.
std::string without_quotes(std::string_view error);

}  // namespace nixery::nix
