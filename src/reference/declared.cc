#include "reference/declared.h"

#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "json/json.h"
#include "reference/declared_fields.h"
#include "reference/declared_reader.h"
#include "text/plain_text.h"

namespace nixery::reference {

namespace {

using json::Value;

class Reader : private FieldReader {
 public:
  using FieldReader::FieldReader, FieldReader::throw_problems;

  DeclaredImage image(const Value& root);

 private:
  std::string name(const Value* value);
  std::string tag(const Value* value, const std::string& where, std::string fallback);
  std::vector<AttributePath> contents(const Value* value);
  std::optional<Platform> platform(const Value* value);
};

std::string Reader::name(const Value* value) {
  if (!value) {
    refuse("", "the field 'name' is missing: the image's name, such as \"web/frontend\"");
    return {};
  }
  auto given = text(*value, "name", "the image's name, such as \"web/frontend\"");
  if (given && !is_repository(*given))
    refuse("name",
           fmt::format("{} is not an image name: give 1 to {} characters; parts between '/' are lower-case letters "
                       "and digits, joined by single '.', '_', '__' or dashes",
                       text::in_quotes(*given), max_repository_length));
  return given.value_or("");
}

std::string Reader::tag(const Value* value, const std::string& where, std::string fallback) {
  if (!value) return fallback;
  const auto given = text(*value, where, "a tag, such as \"v1\"");
  if (given && !is_tag(*given))
    refuse(where,
           fmt::format("{} is not a tag: 1 to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'",
                       text::in_quotes(*given)));
  if (given && is_digest_tag(*given))
    refuse(where, fmt::format("{} is reserved for signatures: give another tag", text::in_quotes(*given)));
  return given.value_or("");
}

std::vector<AttributePath> Reader::contents(const Value* value) {
  constexpr std::string_view wanted = "a list of packages, such as [\"nginx\", \"python3Packages.requests\"]";
  std::vector<AttributePath> paths;
  if (!value) {
    refuse("", fmt::format("the field 'contents' is missing: {}", wanted));
    return paths;
  }
  if (value->IsArray() && value->Empty()) refuse("contents", "this is empty: name at least one package");
  for (Item& item : texts(*value, "contents", max_packages, wanted)) {
    if (item.text == "shell")
      refuse(item.where, "'shell' is a part of image names: list bashInteractive, coreutils, moreutils and nano");
    else if (platform_of_meta_package(item.text))
      refuse(item.where, fmt::format("'{0}' is a part of image names: say \"platform\": \"{0}\"", item.text));
    else if (!is_attribute_path(item.text))
      refuse(item.where,
             fmt::format(
                 "{} is not an attribute path: names of letters, digits, '_', '-', '+' and \"'\", separated by dots",
                 text::in_quotes(item.text)));
    else if (std::find(paths.begin(), paths.end(), AttributePath{item.text}) != paths.end())
      refuse(item.where, fmt::format("{} is listed twice", text::in_quotes(item.text)));
    else
      paths.push_back({std::move(item.text)});
  }
  return paths;
}

std::optional<Platform> Reader::platform(const Value* value) {
  if (!value) return std::nullopt;
  const auto given = text(*value, "platform", "\"amd64\" or \"arm64\"");
  if (!given) return std::nullopt;
  const auto found = platform_of_meta_package(*given);
  if (!found) refuse("platform", fmt::format("{} is not a platform: give amd64 or arm64", text::in_quotes(*given)));
  return found;
}

DeclaredImage Reader::image(const Value& root) {
  DeclaredImage image;
  if (!is_object(root, "", "an object with the fields 'name' and 'contents'")) return image;
  check_fields(root, "", {"name", "tag", "contents", "config", "platform", "source", "users", "directories", "files"});
  image.name = name(json::find(root, "name"));
  image.tag = tag(json::find(root, "tag"), "tag", "latest");
  image.contents = contents(json::find(root, "contents"));
  image.platform = platform(json::find(root, "platform"));
  image.source = tag(json::find(root, "source"), "source", "");
  Accounts accounts;
  RootAdditions additions = read_additions(*this, root, accounts);
  if (const Value* given = json::find(root, "config")) image.config = read_config(*this, *given, accounts);
  image.config.additions = std::move(additions);
  return image;
}

// The first string that follows `"field":` in text that is no JSON; empty if there is none.
std::string_view scan(std::string_view text, std::string_view field) {
  constexpr std::string_view blanks = " \t\r\n";
  const std::string quoted = fmt::format("\"{}\"", field);
  for (auto at = text.find(quoted); at != text.npos; at = text.find(quoted, at + 1)) {
    const auto colon = text.find_first_not_of(blanks, at + quoted.size());
    if (colon == text.npos || text[colon] != ':') continue;
    const auto quote = text.find_first_not_of(blanks, colon + 1);
    if (quote == text.npos || text[quote] != '"') continue;
    const auto end = text.find('"', quote + 1);
    return end == text.npos ? std::string_view() : text.substr(quote + 1, end - quote - 1);
  }
  return {};
}

}  // namespace

DeclaredImage parse_declared(std::string_view text, std::string_view file) {
  if (text.size() > max_declared_bytes)
    throw Error(Failure::bad_config, fmt::format("{}: this is {} bytes long; at most {} are allowed", file, text.size(),
                                                 max_declared_bytes));
  // RapidJSON takes a NUL for the end and would ignore the rest.
  if (const auto nul = text.find('\0'); nul != text.npos)
    throw Error(Failure::bad_config, fmt::format("{}: byte {}: a NUL character is not allowed in JSON", file, nul));
  const auto document = json::parse(text, file);
  Reader reader(file);
  DeclaredImage image = reader.image(document);
  reader.throw_problems();
  return image;
}

std::optional<DeclaredName> name_in_invalid(std::string_view text) {
  DeclaredName found;
  try {
    const auto document = json::parse(text, "a declaration");
    found = {json::string_or(document, "name", ""), json::string_or(document, "tag", "latest")};
  } catch (const Error&) {
    found = {std::string(scan(text, "name")), std::string(scan(text, "tag"))};
  }
  if (!is_repository(found.name)) return std::nullopt;
  if (!is_tag(found.tag)) found.tag.clear();
  return found;
}

Reference reference_of(const DeclaredImage& image, std::string hash) {
  Reference reference;
  reference.repository = image.name;
  reference.tag = image.tag;
  reference.packages = image.contents;
  reference.platform = image.platform;
  reference.declared = Declaration{image.config, image.source, std::move(hash)};
  return reference;
}

std::string canonical_json(const DeclaredImage& image) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  std::vector<std::string> contents;
  for (const AttributePath& path : image.contents) contents.push_back(path.text);
  json::member_strings(writer, "contents", contents);
  json::member(writer, "platform", image.platform ? image.platform->meta_package : "");
  json::member(writer, "source", image.source);
  json::key(writer, "config");
  write_config(writer, image.config);
  write_additions(writer, image.config.additions);
  writer.EndObject();
  return buffer.GetString();
}

}  // namespace nixery::reference
