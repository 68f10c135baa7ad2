#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "command/command.h"
#include "command/output.h"
#include "command/registry_parts.h"
#include "command/settings.h"
#include "command/terminal_style.h"
#include "text/plain_text.h"

namespace nixery::command {

namespace {

struct Listing {
  std::shared_ptr<const pipeline::Declarations> declarations;
  std::vector<std::string> clashes;
};

std::vector<std::string> contents_of(const pipeline::Declared& declared) {
  std::vector<std::string> texts;
  for (const auto& path : declared.image.contents) texts.push_back(path.text);
  return texts;
}

void print_text(const Listing& listing) {
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO), errors = TerminalStyle::of(STDERR_FILENO);
  for (const auto& declared : listing.declarations->images()) {
    const auto& platform = declared->image.platform;
    fmt::print("{}\n    {}; {}{}{}\n", style.bold(declared->image.name + ":" + declared->image.tag),
               text::plain_line(declared->file), fmt::join(contents_of(*declared), " "), platform ? "; " : "",
               platform ? platform->meta_package : "");
  }
  for (const std::string& problem : listing.declarations->problems())
    fmt::print(stderr, "{} {}\n", errors.red("error:"), text::plain_line(problem));
  for (const std::string& clash : listing.clashes)
    fmt::print(stderr, "{} {}\n", errors.yellow("warning:"), text::plain_line(clash));
}

void print_listing(const Listing& listing) {
  print_json([&](json::Writer& writer) {
    json::key(writer, "images");
    writer.StartArray();
    for (const auto& declared : listing.declarations->images()) {
      writer.StartObject();
      json::member(writer, "name", declared->image.name);
      json::member(writer, "tag", declared->image.tag);
      json::member(writer, "file", declared->file);
      json::member_strings(writer, "contents", contents_of(*declared));
      if (declared->image.platform) json::member(writer, "platform", declared->image.platform->meta_package);
      json::member(writer, "hash", declared->hash);
      writer.EndObject();
    }
    writer.EndArray();
    json::member_strings(writer, "errors", listing.declarations->problems());
    json::member_strings(writer, "warnings", listing.clashes);
  });
}

int run(const Arguments& arguments) {
  RegistryParts parts(load_settings_as_worker(arguments).config);
  const auto declarations = parts.declared.current();
  const Listing listing{declarations,
                        declarations->clashes([&](const auto& path) { return parts.has_attribute(path); })};
  arguments.json() ? print_listing(listing) : print_text(listing);
  return declarations->problems().empty() ? 0 : 1;
}

}  // namespace

const Command images = {"images",
                        "",
                        "list the declared images and the problems in their files",
                        "Reads the directory NIXERY_IMAGES like the registry. Lists the declared names, problems with "
                        "their file and\n"
                        "field, and names that are also packages.\n",
                        {json_option, settings_option},
                        "images (name, tag, file, contents, platform, hash), errors, warnings",
                        {{"nixery images", "list the declared images"},
                         {"NIXERY_IMAGES=$PWD/images nixery images", "check files before deploying them"}},
                        "0 if every file is valid, 1 if not (a name that is also a package is only a warning)",
                        {"build", "controller", "doctor"},
                        run};

}  // namespace nixery::command
