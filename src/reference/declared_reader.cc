#include "reference/declared_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "error.h"
#include "reference/declared.h"
#include "reference/near_matches.h"
#include "text/plain_text.h"

namespace nixery::reference {

using json::Value;

namespace {

const char* kind_of(const Value& value) {
  if (value.IsNull()) return "null";
  if (value.IsBool()) return "true or false";
  if (value.IsNumber()) return "a number";
  if (value.IsString()) return "a string";
  return value.IsArray() ? "a list" : "an object";
}

}  // namespace

std::string_view view(const Value& text) {
  return {text.GetString(), text.GetStringLength()};
}

void FieldReader::refuse(const std::string& where, const std::string& what) {
  problems_.push_back(where.empty() ? fmt::format("{}: {}", file_, what)
                                    : fmt::format("{}: {}: {}", file_, where, what));
}

void FieldReader::wrong_kind(const std::string& where, const Value& value, std::string_view wanted) {
  refuse(where, fmt::format("this is {}: give {}", kind_of(value), wanted));
}

void FieldReader::throw_problems() const {
  if (problems_.empty()) return;
  std::string all;
  for (std::size_t i = 0; i < std::min(problems_.size(), max_reported); ++i)
    all += fmt::format("{}{}", i == 0 ? "" : "\n", problems_[i]);
  if (problems_.size() > max_reported)
    all += fmt::format("\n{}: and {} more problems", file_, problems_.size() - max_reported);
  throw Error(Failure::bad_config, problems_.front(), problems_.size() > 1 ? all : std::string());
}

bool FieldReader::is_object(const Value& value, const std::string& where, std::string_view wanted) {
  if (!value.IsObject()) wrong_kind(where, value, wanted);
  return value.IsObject();
}

// RapidJSON keeps both of two members with one name, and it is unknown which was meant, so duplicates are refused.
void FieldReader::check_fields(const Value& object, const std::string& where, const std::vector<std::string>& known) {
  std::set<std::string_view> seen;
  for (const auto& member : object.GetObject()) {
    const std::string_view field = view(member.name);
    if (!seen.insert(field).second) {
      refuse(where, fmt::format("the field {} is given twice", text::in_quotes(field)));
    } else if (std::find(known.begin(), known.end(), field) == known.end()) {
      const auto near = near_matches(field, known, 1);
      refuse(where, fmt::format("unknown field {}{}", text::in_quotes(field),
                                near.empty() ? "" : fmt::format(": did you mean '{}'?", near.front())));
    }
  }
}

std::optional<std::string> FieldReader::text(const Value& value, const std::string& where, std::string_view wanted,
                                             std::size_t most) {
  if (!value.IsString()) {
    wrong_kind(where, value, wanted);
  } else if (value.GetStringLength() > most) {
    refuse(where, fmt::format("this is {} bytes long; at most {} are allowed", value.GetStringLength(), most));
  } else if (view(value).find('\0') != std::string_view::npos) {
    refuse(where, "a NUL character cannot be passed to a program");
  } else {
    return std::string(view(value));
  }
  return std::nullopt;
}

std::optional<std::string> FieldReader::text(const Value& value, const std::string& where, std::string_view wanted) {
  return text(value, where, wanted, max_text);
}

std::vector<Item> FieldReader::texts(const Value& value, const std::string& where, std::size_t most,
                                     std::string_view wanted) {
  std::vector<Item> items;
  if (!value.IsArray()) {
    wrong_kind(where, value, wanted);
  } else if (value.Size() > most) {
    refuse(where, fmt::format("{} entries; at most {} are allowed", value.Size(), most));
  } else {
    for (rapidjson::SizeType i = 0; i < value.Size(); ++i) {
      std::string here = fmt::format("{}[{}]", where, i);
      if (auto item = text(value[i], here, "a string")) items.push_back({std::move(here), *std::move(item)});
    }
  }
  return items;
}

std::vector<std::string> FieldReader::arguments(const Value& value, const std::string& where) {
  std::vector<std::string> words;
  for (Item& item : texts(value, where, max_arguments,
                          "a list of strings, one a word, such as [\"nginx\", \"-g\", \"daemon off;\"]"))
    words.push_back(std::move(item.text));
  return words;
}

std::optional<std::uint32_t> FieldReader::number(const Value& value, const std::string& where, std::uint32_t least,
                                                 std::uint32_t most) {
  const std::string wanted = fmt::format("a whole number from {} to {}", least, most);
  if (!value.IsNumber()) {
    wrong_kind(where, value, wanted);
  } else if (!value.IsUint() || value.GetUint() < least || value.GetUint() > most) {
    refuse(where, fmt::format("give {}", wanted));
  } else {
    return value.GetUint();
  }
  return std::nullopt;
}

}  // namespace nixery::reference
