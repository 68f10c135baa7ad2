#include <fmt/format.h>
#include <fmt/ranges.h>

#include "command/command.h"
#include "command/registry_parts.h"
#include "json/json.h"

namespace nixery::command {

namespace {

struct Listing {
  std::shared_ptr<const build::Declarations> declarations;
  std::vector<std::string> clashes;
};

std::vector<std::string> contents_of(const build::Declared& declared) {
  std::vector<std::string> texts;
  for (const auto& path : declared.image.contents) texts.push_back(path.text);
  return texts;
}

void print_text(const Listing& listing) {
  for (const auto& declared : listing.declarations->images()) {
    const auto& platform = declared->image.platform;
    fmt::print("{}:{}\n    {}; {}{}{}\n", declared->image.name, declared->image.tag, declared->file,
               fmt::join(contents_of(*declared), " "), platform ? "; " : "", platform ? platform->meta_package : "");
  }
  for (const std::string& problem : listing.declarations->problems()) fmt::print(stderr, "error: {}\n", problem);
  for (const std::string& clash : listing.clashes) fmt::print(stderr, "warning: {}\n", clash);
}

void write_strings(json::Writer& writer, std::string_view key, const std::vector<std::string>& strings) {
  json::key(writer, key);
  writer.StartArray();
  for (const std::string& text : strings) json::string(writer, text);
  writer.EndArray();
}

void print_json(const Listing& listing) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "images");
  writer.StartArray();
  for (const auto& declared : listing.declarations->images()) {
    writer.StartObject();
    json::member(writer, "name", declared->image.name);
    json::member(writer, "tag", declared->image.tag);
    json::member(writer, "file", declared->file);
    write_strings(writer, "contents", contents_of(*declared));
    if (declared->image.platform) json::member(writer, "platform", declared->image.platform->meta_package);
    json::member(writer, "hash", declared->hash);
    writer.EndObject();
  }
  writer.EndArray();
  write_strings(writer, "errors", listing.declarations->problems());
  write_strings(writer, "warnings", listing.clashes);
  writer.EndObject();
  fmt::print("{}\n", buffer.GetString());
}

int run(Words words) {
  if (words.size() > 1 || (words.size() == 1 && words[0] != "--json")) throw Misuse{"images takes --json or nothing"};
  RegistryParts parts(load_config_from_environment().config);
  const auto declarations = parts.declared.current();
  const Listing listing{declarations,
                        declarations->clashes([&](const auto& path) { return parts.has_attribute(path); })};
  words.empty() ? print_text(listing) : print_json(listing);
  return declarations->problems().empty() ? 0 : 1;
}

}  // namespace

const Command images = {"images", "nixery images [--json]",
                        "list the declared images, and what is wrong with their files",
                        "Reads the directory NIXERY_IMAGES as the registry does: lists the names that it declares, "
                        "what is wrong with which\n"
                        "file and field, and the names that are packages too.\n"
                        "Exit status: 0 if every file is good, 1 otherwise; clashes with packages are only warnings.\n",
                        run};

}  // namespace nixery::command
