#include <fmt/format.h>

#include "command/command.h"
#include "command/open_store.h"
#include "command/output.h"
#include "command/settings.h"
#include "pipeline/export_tree.h"
#include "tree/tree.h"

namespace nixery::command {

namespace {

struct Options {
  std::string_view directory;
  std::vector<reference::Reference> references;
};

Options options_of(const Arguments& arguments) {
  const auto& words = arguments.operands();
  if (words.empty()) throw Misuse{"into which directory?"};
  if (words.size() == 1) throw Misuse{"which images? Name their packages, as in shell/git"};
  Options options{words[0], {}};
  for (const std::string_view word : std::span(words).subspan(1)) options.references.push_back(reference::parse(word));
  return options;
}

std::string name_of(const reference::Reference& reference) {
  return fmt::format("{}:{}", reference.repository, reference.tag);
}

void print_exported(const Options& options, const pipeline::ExportedTree& exported) {
  print_json([&](json::Writer& writer) {
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
  });
}

int run(const Arguments& arguments) {
  const Options options = options_of(arguments);
  // Only reads the tree, which may belong to another user.
  const tree::Tree tree(open_store(load_settings(arguments).config));
  const auto exported = pipeline::export_tree(tree, options.references, std::filesystem::absolute(options.directory));
  if (arguments.json()) return print_exported(options, exported), 0;
  for (std::size_t i = 0; i < options.references.size(); ++i)
    fmt::print("{} {}\n", name_of(options.references[i]), exported.images[i].str());
  fmt::print("{} tags, {} manifests, {} blobs of {:.1f} MB, {:.1f} MB of them new: {}\n", exported.tags,
             exported.manifests, exported.blobs, static_cast<double>(exported.bytes) / 1e6,
             static_cast<double>(exported.added_bytes) / 1e6, options.directory);
  return 0;
}

}  // namespace

const Command export_images = {
    "export",
    "DIR REF…",
    "copy built images out of the tree, for a host with only a web server",
    "Copies all files of the images into DIR, in the tree's own layout: tags, manifests, configs, layers and "
    "referrers\n"
    "(SBOMs, signatures). A web server can serve DIR, even during the export. On the tree's file system the layers "
    "are\n"
    "hard links. Existing files stay: run it again to add images or to finish an interrupted export. Each REF must be\n"
    "in the tree: run `nixery build REF` first. Builds nothing and needs no Nix.\n",
    {json_option, settings_option},
    "directory, images (reference, digest), tags, manifests, blobs, bytes, addedBytes",
    {{"nixery export /srv/images shell/git",
      "one image into /srv/images; set $nixery_tree to it and reload nginx there"},
     {"nixery export --json /mnt/usb shell/git team/toolbox:v1", "two images onto a removable disk"}},
    "",
    {"build", "verify"},
    run};

}  // namespace nixery::command
