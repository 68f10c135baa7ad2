// Makes untrusted text (from builders, package sets, file names, other registries) safe for terminals and JSON. Pure.
#pragma once

#include <string>
#include <string_view>

namespace nixery::text {

// Without terminal escape sequences (ECMA-48: CSI, OSC, DCS, APC, PM, SOS, whole with their parameters and contents),
// other C0 and C1 controls, DEL and the controls that reorder text (Unicode bidi). Newlines and tabs stay; each byte
// that is not UTF-8 becomes U+FFFD. Of an unterminated control string only the introducer is removed, not the rest of
// the text.
std::string plain_text(std::string_view text);

// The same as one line: each run of newlines and tabs becomes a space.
std::string plain_line(std::string_view text);

// For messages: in quotes, other bytes than printable ASCII as '?', truncated to 80 bytes.
std::string in_quotes(std::string_view text);

// JSON that means the same and has \u escapes for the characters that act on a terminal. RapidJSON escapes only C0.
std::string plain_json(std::string_view json);

}  // namespace nixery::text
