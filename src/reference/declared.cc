#include "reference/declared.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "error.h"
#include "json/json.h"
#include "reference/declared_fields.h"
#include "reference/near_matches.h"
#include "text/plain_text.h"

namespace nixery::reference {

namespace {

using json::Value;

std::string_view view(const Value& text) {
  return {text.GetString(), text.GetStringLength()};
}

const char* kind_of(const Value& value) {
  if (value.IsNull()) return "null";
  if (value.IsBool()) return "true or false";
  if (value.IsNumber()) return "a number";
  if (value.IsString()) return "a string";
  return value.IsArray() ? "a list" : "an object";
}

// A string and the field that it was read from: "config.cmd[1]".
struct Item {
  std::string where, text;
};

// Reads one file and collects all its problems, so that they are reported together.
class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file) {}

  DeclaredImage image(const Value& root);
  void throw_problems() const;

 private:
  // `where` is the field: "config.exposedPorts[1]"; empty for the file as a whole.
  void refuse(const std::string& where, const std::string& what);
  void wrong_kind(const std::string& where, const Value& value, std::string_view wanted);
  void check_fields(const Value& object, const std::string& where, const std::vector<std::string>& known);
  bool is_object(const Value& value, const std::string& where, std::string_view wanted);

  // nullopt if it is not a string, is too long, or holds a NUL, which cannot be passed to a process.
  std::optional<std::string> text(const Value& value, const std::string& where, std::string_view wanted);
  // The valid items of a list; problems of the others are recorded.
  std::vector<Item> texts(const Value& value, const std::string& where, std::size_t most, std::string_view wanted);
  std::vector<std::string> arguments(const Value& value, const std::string& where);

  std::string name(const Value* value);
  std::string tag(const Value* value, const std::string& where, std::string fallback);
  std::vector<AttributePath> contents(const Value* value);
  std::optional<Platform> platform(const Value* value);
  ImageConfig config(const Value& value);
  void variable(ImageConfig& config, const std::string& where, std::string_view name, std::string value);
  void env(ImageConfig& config, const Value& value);
  void labels(ImageConfig& config, const Value& value);
  void exposed_ports(ImageConfig& config, const Value& value);

  const std::string file_;
  std::vector<std::string> problems_;
};

void Reader::refuse(const std::string& where, const std::string& what) {
  problems_.push_back(where.empty() ? fmt::format("{}: {}", file_, what)
                                    : fmt::format("{}: {}: {}", file_, where, what));
}

void Reader::wrong_kind(const std::string& where, const Value& value, std::string_view wanted) {
  refuse(where, fmt::format("this is {}: give {}", kind_of(value), wanted));
}

void Reader::throw_problems() const {
  if (problems_.empty()) return;
  std::string all;
  for (std::size_t i = 0; i < std::min(problems_.size(), max_reported); ++i)
    all += fmt::format("{}{}", i == 0 ? "" : "\n", problems_[i]);
  if (problems_.size() > max_reported)
    all += fmt::format("\n{}: and {} more problems", file_, problems_.size() - max_reported);
  throw Error(Failure::bad_config, problems_.front(), problems_.size() > 1 ? all : std::string());
}

bool Reader::is_object(const Value& value, const std::string& where, std::string_view wanted) {
  if (!value.IsObject()) wrong_kind(where, value, wanted);
  return value.IsObject();
}

// RapidJSON keeps both of two members with one name, and it is unknown which was meant, so duplicates are refused.
void Reader::check_fields(const Value& object, const std::string& where, const std::vector<std::string>& known) {
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

std::optional<std::string> Reader::text(const Value& value, const std::string& where, std::string_view wanted) {
  if (!value.IsString()) {
    wrong_kind(where, value, wanted);
  } else if (value.GetStringLength() > max_text) {
    refuse(where, fmt::format("this is {} bytes long; at most {} are allowed", value.GetStringLength(), max_text));
  } else if (view(value).find('\0') != std::string_view::npos) {
    refuse(where, "a NUL character cannot be passed to a program");
  } else {
    return std::string(view(value));
  }
  return std::nullopt;
}

std::vector<Item> Reader::texts(const Value& value, const std::string& where, std::size_t most,
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

std::vector<std::string> Reader::arguments(const Value& value, const std::string& where) {
  std::vector<std::string> words;
  for (Item& item : texts(value, where, max_arguments,
                          "a list of strings, one a word, such as [\"nginx\", \"-g\", \"daemon off;\"]"))
    words.push_back(std::move(item.text));
  return words;
}

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

void Reader::variable(ImageConfig& config, const std::string& where, std::string_view name, std::string value) {
  if (!is_variable_name(name))
    refuse(where,
           fmt::format("{} is not a variable's name: letters, digits, '_', '.' and '-', not starting with a digit",
                       text::in_quotes(name)));
  else if (!config.env.emplace(name, std::move(value)).second)
    refuse(where, fmt::format("the variable {} is given twice", text::in_quotes(name)));
}

void Reader::env(ImageConfig& config, const Value& value) {
  constexpr std::string_view wanted = "an object, such as {\"LANG\": \"C\"}, or a list, such as [\"LANG=C\"]";
  if (value.IsArray()) {
    for (const Item& item : texts(value, "config.env", max_variables, wanted)) {
      const auto equals = item.text.find('=');
      if (equals == std::string::npos)
        refuse(item.where, fmt::format("{} has no '=': give NAME=value", text::in_quotes(item.text)));
      else
        variable(config, item.where, item.text.substr(0, equals), item.text.substr(equals + 1));
    }
    return;
  }
  if (!is_object(value, "config.env", wanted)) return;
  if (value.MemberCount() > max_variables) {
    refuse("config.env", fmt::format("{} variables; at most {} are allowed", value.MemberCount(), max_variables));
    return;
  }
  for (const auto& member : value.GetObject()) {
    const std::string where = fmt::format("config.env[{}]", text::in_quotes(view(member.name)));
    if (auto given = text(member.value, where, "its value in quotes"))
      variable(config, where, view(member.name), *std::move(given));
  }
}

void Reader::labels(ImageConfig& config, const Value& value) {
  if (!is_object(value, "config.labels", "an object, such as {\"team\": \"web\"}")) return;
  if (value.MemberCount() > max_labels) {
    refuse("config.labels", fmt::format("{} labels; at most {} are allowed", value.MemberCount(), max_labels));
    return;
  }
  for (const auto& member : value.GetObject()) {
    const std::string_view name = view(member.name);
    const std::string where = fmt::format("config.labels[{}]", text::in_quotes(name));
    auto given = text(member.value, where, "its value in quotes");
    if (!is_label_name(name))
      refuse(where, "this is not a label's name: letters and digits, with '.', '_', '-' and '/' between them");
    else if (name.starts_with("io.nixery."))
      refuse(where, "labels that begin with 'io.nixery.' are the registry's own");
    else if (given && !config.labels.emplace(name, *std::move(given)).second)
      refuse(where, "this label is given twice");
  }
}

void Reader::exposed_ports(ImageConfig& config, const Value& value) {
  auto& ports = config.exposed_ports;
  for (const Item& item : texts(value, "config.exposedPorts", max_ports, "a list of ports, such as [\"80/tcp\"]")) {
    const auto port = port_of(item.text);
    if (!port)
      refuse(item.where, fmt::format("{} is not a port: give a number from 1 to 65535, with /tcp, /udp or /sctp",
                                     text::in_quotes(item.text)));
    else if (std::find(ports.begin(), ports.end(), *port) != ports.end())
      refuse(item.where, fmt::format("{} is listed twice", text::in_quotes(*port)));
    else
      ports.push_back(*port);
  }
  std::sort(ports.begin(), ports.end());
}

ImageConfig Reader::config(const Value& value) {
  ImageConfig config;
  if (!is_object(value, "config", "an object, such as {\"cmd\": [\"nginx\"]}")) return config;
  check_fields(value, "config", {"entrypoint", "cmd", "env", "user", "workdir", "labels", "exposedPorts"});
  const Value* entrypoint = json::find(value, "entrypoint");
  const Value* cmd = json::find(value, "cmd");
  if (entrypoint) config.entrypoint = arguments(*entrypoint, "config.entrypoint");
  if (cmd) config.cmd = arguments(*cmd, "config.cmd");
  // The program to start is the first word of entrypoint and cmd.
  const bool has_entrypoint = entrypoint && entrypoint->IsArray() && !entrypoint->Empty();
  const Value* words = has_entrypoint ? entrypoint : cmd;
  if (words && words->IsArray() && !words->Empty() && (*words)[0].IsString() && view((*words)[0]).empty())
    refuse(has_entrypoint ? "config.entrypoint[0]" : "config.cmd[0]", "this is empty: name the program to start");

  if (const Value* given = json::find(value, "env")) env(config, *given);
  if (const Value* given = json::find(value, "user")) {
    config.user = text(*given, "config.user", "a user, such as \"101\" or \"101:101\"").value_or("");
    if (!config.user.empty() && !is_user(config.user))
      refuse("config.user", fmt::format("{} is not a user: give a name, a uid or uid:gid", text::in_quotes(config.user)));
  }
  if (const Value* given = json::find(value, "workdir")) {
    config.workdir = text(*given, "config.workdir", "a directory, such as \"/srv\"").value_or("");
    if (!config.workdir.empty() && !is_workdir(config.workdir))
      refuse("config.workdir", fmt::format("{} is not a working directory: give an absolute path without '..'",
                                           text::in_quotes(config.workdir)));
  }
  if (const Value* given = json::find(value, "labels")) labels(config, *given);
  if (const Value* given = json::find(value, "exposedPorts")) exposed_ports(config, *given);
  return config;
}

DeclaredImage Reader::image(const Value& root) {
  DeclaredImage image;
  if (!is_object(root, "", "an object with the fields 'name' and 'contents'")) return image;
  check_fields(root, "", {"name", "tag", "contents", "config", "platform", "source"});
  image.name = name(json::find(root, "name"));
  image.tag = tag(json::find(root, "tag"), "tag", "latest");
  image.contents = contents(json::find(root, "contents"));
  image.platform = platform(json::find(root, "platform"));
  image.source = tag(json::find(root, "source"), "source", "");
  if (const Value* given = json::find(root, "config")) image.config = config(*given);
  return image;
}

void write_map(json::Writer& writer, std::string_view key, const std::map<std::string, std::string>& map) {
  json::key(writer, key);
  writer.StartObject();
  for (const auto& [name, value] : map) json::member(writer, name, value);
  writer.EndObject();
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
  writer.StartObject();
  if (image.config.entrypoint) json::member_strings(writer, "entrypoint", *image.config.entrypoint);
  if (image.config.cmd) json::member_strings(writer, "cmd", *image.config.cmd);
  write_map(writer, "env", image.config.env);
  json::member(writer, "user", image.config.user);
  json::member(writer, "workdir", image.config.workdir);
  write_map(writer, "labels", image.config.labels);
  json::member_strings(writer, "exposedPorts", image.config.exposed_ports);
  writer.EndObject();
  writer.EndObject();
  return buffer.GetString();
}

}  // namespace nixery::reference
