// The checksum of STATE's records. It covers a record's key and contents, so it detects both flipped bits and records
// of another key.
//
// A record is one line, "<fields> sum:<checksum> end\n", or a JSON object whose last member is "checksum". Earlier
// versions wrote both without a checksum; such a record is `unchecked`, and its reader must verify it by other means.
// Pure, thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "image/digest.h"
#include "os/fd.h"

namespace nixery::tree {

inline constexpr std::string_view record_line_end = " end\n";  // missing in a torn line

struct CheckedRecord {
  std::string_view body;  // of a line: the fields; of JSON: the whole text, because parsers ignore the checksum
  bool unchecked;         // it has no checksum
};

// `kind` and `key` identify the record, such as "group" and a layer key.
std::string line_with_checksum(std::string_view kind, std::string_view key, std::string_view fields);
// nullopt for a torn line or a wrong checksum.
std::optional<CheckedRecord> check_line(std::string_view kind, std::string_view key, std::string_view text);

// `object` is a JSON object with at least one member, "{…}", optionally followed by a newline.
std::string json_with_checksum(std::string_view kind, std::string_view key, std::string_view object);
// The same for an object of any length, in pieces. Not thread-safe.
class JsonWithChecksum {
 public:
  JsonWithChecksum(std::string_view kind, std::string_view key, std::function<void(std::string_view)> out);
  void write(std::string_view piece);
  void finish();

 private:
  std::function<void(std::string_view)> out_;
  image::Sha256 hash_;
  std::string pending_;  // the last bytes, which may be the object's end
};

// nullopt if the checksum is wrong. Does not check that the text is JSON.
std::optional<CheckedRecord> check_json(std::string_view kind, std::string_view key, std::string_view text);
// Whether the checksum of an open file is right; nullopt if it has none or cannot be read, or there is no file. Reads
// it in pieces.
std::optional<bool> check_json_file(std::string_view kind, std::string_view key, const os::Fd& file);

}  // namespace nixery::tree
