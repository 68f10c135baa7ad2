#include <fmt/format.h>

#include "build/export_tree.h"
#include "command/command.h"
#include "command/registry_parts.h"
#include "json/json.h"

namespace nixery::command {

namespace {

struct Options {
  std::string_view directory;
  std::vector<reference::Reference> references;
  bool json = false;
};

Options parse(Words words) {
  Options options;
  for (const std::string_view word : words) {
    if (word == "--json")
      options.json = true;
    else if (word.starts_with("-"))
      throw Misuse{"unknown option"};
    else if (options.directory.empty())
      options.directory = word;
    else
      options.references.push_back(reference::parse(word));
  }
  if (options.directory.empty()) throw Misuse{"into which directory?"};
  if (options.references.empty()) throw Misuse{"which images? Name their packages, as in shell/git"};
  return options;
}

std::string name_of(const reference::Reference& reference) {
  return fmt::format("{}:{}", reference.repository, reference.tag);
}

void print_json(const Options& options, const build::ExportedTree& exported) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "directory", options.directory);
  json::key(writer, "images");
  writer.StartArray();
  for (std::size_t i = 0; i < options.references.size(); ++i) {
    writer.StartObject();
    json::member(writer, "reference", name_of(options.references[i]));
    json::member(writer, "digest", exported.images[i].str());
    writer.EndObject();
  }
  writer.EndArray();
  json::member(writer, "tags", exported.tags);
  json::member(writer, "manifests", exported.manifests);
  json::member(writer, "blobs", exported.blobs);
  json::member(writer, "bytes", exported.bytes);
  json::member(writer, "addedBytes", exported.added_bytes);
  writer.EndObject();
  fmt::print("{}\n", buffer.GetString());
}

int run(Words words) {
  const Options options = parse(words);
  // Not the parts that build: the tree may be somebody else's, and it is only read.
  const tree::Tree tree(load_config_from_environment().config.layout);
  const auto exported = build::export_tree(tree, options.references, std::filesystem::absolute(options.directory));
  if (options.json) return print_json(options, exported), 0;
  for (std::size_t i = 0; i < options.references.size(); ++i)
    fmt::print("{} {}\n", name_of(options.references[i]), exported.images[i].str());
  fmt::print("{} tags, {} manifests, {} blobs of {:.1f} MB, {:.1f} MB of them new: {}\n", exported.tags,
             exported.manifests, exported.blobs, static_cast<double>(exported.bytes) / 1e6,
             static_cast<double>(exported.added_bytes) / 1e6, options.directory);
  return 0;
}

}  // namespace

const Command export_images = {
    "export", "nixery export [--json] DIR REF…", "copy built images out of the tree, for a host with only a web server",
    "Brings what a web server needs to serve the images into DIR, in the tree's own layout: tags, manifests, configs,\n"
    "layers, and what refers to them (SBOMs, signatures). On the tree's file system the layers are hard links. DIR may "
    "be\n"
    "served meanwhile; what is there already stays, so run it again to add images or to finish what was cut off.\n"
    "  --json  prints what was exported as JSON\n"
    "Each REF must be in the tree: run `nixery build REF` first. Builds nothing and needs no nix.\n",
    run};

}  // namespace nixery::command
