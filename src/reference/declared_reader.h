// Reads the fields of a declaration file and collects all its problems, so that they are reported together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/json.h"
#include "reference/accounts.h"
#include "reference/declared_config.h"

namespace nixery::reference {

// A string and the field that it was read from: "config.cmd[1]".
struct Item {
  std::string where, text;
};

std::string_view view(const json::Value& text);

// `where` is a field, such as "config.exposedPorts[1]"; empty for the file as a whole. `wanted` completes "give …".
class FieldReader {
 public:
  // `file` names the file in messages.
  explicit FieldReader(std::string_view file) : file_(file) {}

  void refuse(const std::string& where, const std::string& what);
  void wrong_kind(const std::string& where, const json::Value& value, std::string_view wanted);
  bool is_object(const json::Value& value, const std::string& where, std::string_view wanted);
  // Refuses members other than `known`, and those that are given twice.
  void check_fields(const json::Value& object, const std::string& where, const std::vector<std::string>& known);

  // nullopt if it is not a string, is longer than `most` bytes, or holds a NUL, which cannot be passed to a process.
  std::optional<std::string> text(const json::Value& value, const std::string& where, std::string_view wanted,
                                  std::size_t most);
  std::optional<std::string> text(const json::Value& value, const std::string& where, std::string_view wanted);
  // The valid items of a list; problems of the others are recorded.
  std::vector<Item> texts(const json::Value& value, const std::string& where, std::size_t most,
                          std::string_view wanted);
  std::vector<std::string> arguments(const json::Value& value, const std::string& where);
  std::optional<std::uint32_t> number(const json::Value& value, const std::string& where, std::uint32_t least,
                                      std::uint32_t most);

  // Throws Error{bad_config} if there are problems; see parse_declared().
  void throw_problems() const;

 private:
  const std::string file_;
  std::vector<std::string> problems_;
};

// Problems are recorded in `reader`. read_additions() adds the users of the declaration `root` to `accounts`.
ImageConfig read_config(FieldReader& reader, const json::Value& value, const Accounts& accounts);
RootAdditions read_additions(FieldReader& reader, const json::Value& root, Accounts& accounts);

// Canonical JSON. A field that was added later is left out if it is not set, so that hashes stay the same.
void write_config(json::Writer& writer, const ImageConfig& config);
// Members of the object that is open.
void write_additions(json::Writer& writer, const RootAdditions& additions);

}  // namespace nixery::reference
