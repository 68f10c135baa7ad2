#include "json/json.h"

#include <fmt/format.h>
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>

#include "error.h"
#include "text/utf8.h"

namespace nixery::json {

Document parse(std::string_view text, std::string_view what) {
  Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(text.data(), text.size());
  if (document.HasParseError())
    throw Error(Failure::bad_config, fmt::format("{}: byte {}: {}", what, document.GetErrorOffset(),
                                                 rapidjson::GetParseError_En(document.GetParseError())));
  return document;
}

const Value* find(const Value& object, const char* key) {
  if (!object.IsObject()) return nullptr;
  const auto at = object.FindMember(key);
  return at == object.MemberEnd() ? nullptr : &at->value;
}

std::optional<std::string> string_at(const Value& object, const char* key) {
  const Value* value = find(object, key);
  if (!value || !value->IsString()) return std::nullopt;
  return std::string(value->GetString(), value->GetStringLength());
}

std::string string_or(const Value& object, const char* key, std::string_view fallback) {
  return string_at(object, key).value_or(std::string(fallback));
}

std::optional<std::int64_t> integer_at(const Value& object, const char* key) {
  const Value* value = find(object, key);
  if (!value || !value->IsInt64()) return std::nullopt;
  return value->GetInt64();
}

std::vector<std::string> strings_at(const Value& object, const char* key) {
  std::vector<std::string> strings;
  if (const Value* value = find(object, key); value && value->IsArray())
    for (const Value& item : value->GetArray())
      if (item.IsString()) strings.emplace_back(item.GetString(), item.GetStringLength());
  return strings;
}

void key(Writer& writer, std::string_view key) {
  writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
}

void string(Writer& writer, std::string_view value) {
  const auto put = [&](std::string_view valid) {
    writer.String(valid.data(), static_cast<rapidjson::SizeType>(valid.size()));
  };
  // JSON must be UTF-8; Nix's output need not be.
  if (text::is_utf8(value)) return put(value);
  put(text::valid_utf8(value));
}

void member(Writer& writer, std::string_view name, std::string_view value) {
  key(writer, name);
  string(writer, value);
}

void member(Writer& writer, std::string_view name, std::uint64_t value) {
  key(writer, name);
  writer.Uint64(value);
}

}  // namespace nixery::json
