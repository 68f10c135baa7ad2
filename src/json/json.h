// Reads JSON (RFC 8259) with error messages that give the position. Writing uses RapidJSON's Writer, with keys in a
// fixed order.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::json {

using Value = rapidjson::Value;
using Document = rapidjson::Document;
using Buffer = rapidjson::StringBuffer;
using Writer = rapidjson::Writer<Buffer>;

// `what` names the text in messages: "images/web.json", "the output of nix-instantiate".
// Throws Error{bad_config}: "<what>: byte 17: <reason>". Nesting is bounded by RapidJSON's iterative parser.
Document parse(std::string_view text, std::string_view what);

// A member of an object; null if it is missing or of another type.
const Value* find(const Value& object, const char* key);
std::optional<std::string> string_at(const Value& object, const char* key);
std::string string_or(const Value& object, const char* key, std::string_view fallback);
std::optional<std::int64_t> integer_at(const Value& object, const char* key);
std::vector<std::string> strings_at(const Value& object, const char* key);

// Writer shorthands: one member each.
void member(Writer& writer, std::string_view key, std::string_view value);
void member(Writer& writer, std::string_view key, std::uint64_t value);
void key(Writer& writer, std::string_view key);
void string(Writer& writer, std::string_view value);

// A member that is an array of the strings.
template <typename Strings>
void member_strings(Writer& writer, std::string_view name, const Strings& strings) {
  key(writer, name);
  writer.StartArray();
  for (const auto& each : strings) string(writer, each);
  writer.EndArray();
}

// {…}, with the members that `write(Writer&)` writes.
template <typename Write>
std::string object(Write&& write) {
  Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  write(writer);
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace nixery::json
