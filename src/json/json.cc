#include "json/json.h"

#include <fmt/format.h>
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>

#include <algorithm>

#include "error.h"

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
  const auto put = [&](std::string_view text) {
    writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  };
  if (std::all_of(value.begin(), value.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return put(value);
  // JSON is UTF-8, and what nix prints need not be: U+FFFD stands for each byte that is out of place.
  Buffer text;
  for (std::size_t at = 0; at < value.size();) {
    rapidjson::MemoryStream in(value.data() + at, value.size() - at);
    const std::size_t before = text.GetSize();
    if (rapidjson::UTF8<>::Validate(in, text)) {
      at += in.Tell();
      continue;
    }
    text.Pop(text.GetSize() - before);
    for (const char c : std::string_view("\xef\xbf\xbd")) text.Put(c);
    ++at;
  }
  put({text.GetString(), text.GetSize()});
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
