// A line that nix prints under --log-format internal-json, which keeps nix's own words apart from what builders print
// (Nix manual, "--log-format": "the schema itself is relatively stable"; the same from 2.8 to 2.34). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nixery::nix {

struct LogLine {
  enum class Kind {
    nothing,  // progress, and what is for nobody to read
    builder,  // a builder printed it, whatever it says
    notice,   // what nix is about, warnings
    error,    // this nix says why something failed
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
