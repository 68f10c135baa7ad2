// The checksum that STATE's records carry. It covers a record's own key as well as its contents, so neither a flipped
// bit nor the record of another key is believed.
//
// A record is one line, "<fields> sum:<checksum> end\n", or a JSON object whose last member is "checksum". Versions
// before this one wrote both without; such a record is `unchecked`, and its reader has to prove it by other means.
// Pure, thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "image/digest.h"
#include "os/fd.h"

namespace nixery::tree {

inline constexpr std::string_view record_line_end = " end\n";  // which a torn line lacks

struct CheckedRecord {
  std::string_view body;  // of a line: the fields; of JSON: the whole text, as the checksum disturbs no parser
  bool unchecked;         // it carries no checksum
};

// `kind` and `key` are what the record is and whose, such as "group" and a layer key.
std::string line_with_checksum(std::string_view kind, std::string_view key, std::string_view fields);
// nullopt for a line that is torn or whose checksum is another.
std::optional<CheckedRecord> check_line(std::string_view kind, std::string_view key, std::string_view text);

// `object` is a JSON object with at least one member, "{…}", also with a newline behind it.
std::string json_with_checksum(std::string_view kind, std::string_view key, std::string_view object);
// The same for an object of any length, in pieces. One thread.
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

// nullopt if the checksum is another. Whether the text is JSON at all is left to its parser.
std::optional<CheckedRecord> check_json(std::string_view kind, std::string_view key, std::string_view text);
// Whether the checksum of an open file is right; nullopt if it has none or cannot be read, or there is no file. Reads
// it in pieces.
std::optional<bool> check_json_file(std::string_view kind, std::string_view key, const os::Fd& file);

}  // namespace nixery::tree
