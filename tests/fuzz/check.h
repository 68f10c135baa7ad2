// Helpers of the fuzz targets: properties that end the run, and checks that do not share the program's code.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/stringbuffer.h>
#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

#include "error.h"

namespace nixery::fuzz {

// Checks a property. If it does not hold, prints `shown` and ends the run.
inline void require(bool holds, const char* property, std::string_view shown = {}) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n  ", property);
  for (const char c : shown.substr(0, 2000))
    std::fprintf(stderr, c >= ' ' && c < 127 && c != '\\' ? "%c" : "\\x%02x", static_cast<unsigned char>(c));
  std::fprintf(stderr, "\n");
  std::abort();
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Removes and returns `text` up to `separator`, or all of it if there is none.
inline std::string_view take_until(std::string_view& text, char separator) {
  const auto end = text.find(separator);
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(end == text.npos ? text.size() : end + 1);
  return taken;
}

inline bool is_hex(std::string_view text, std::size_t size) {
  return text.size() == size && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// No control characters: neither C0 nor DEL.
inline bool is_one_line(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 127) return false;
  return true;
}

// Strict: RFC 8259 requires UTF-8, which RapidJSON checks only on request.
inline rapidjson::Document strict_json(std::string_view text) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(text.data(), text.size());
  return document;
}

inline bool is_utf8(std::string_view text) {
  rapidjson::MemoryStream in(text.data(), text.size());
  rapidjson::StringBuffer out;
  while (in.Tell() < text.size())
    if (!rapidjson::UTF8<>::Validate(in, out)) return false;
  return in.Tell() == text.size();
}

// Whether an error's text is suitable for users.
inline bool is_presentable(std::string_view message) {
  return !message.empty() && is_one_line(message) && is_utf8(message);
}

inline bool is_one_of(Failure failure, std::initializer_list<Failure> allowed) {
  for (const Failure one : allowed)
    if (one == failure) return true;
  return false;
}

// This run's own directory below TMPDIR; tests/fuzz/run removes it.
inline std::filesystem::path scratch_directory() {
  std::string name = (std::filesystem::temp_directory_path() / "nixery-fuzz-XXXXXX").string();
  require(mkdtemp(name.data()) != nullptr, "a scratch directory can be made", name);
  return name;
}

}  // namespace nixery::fuzz
