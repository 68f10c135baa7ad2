#include <fmt/format.h>

#include "build/export.h"
#include "build/tagged_build.h"
#include "command/command.h"
#include "command/registry_parts.h"
#include "command/terminal.h"
#include "error.h"
#include "image/links.h"
#include "json/json.h"

namespace nixery::command {

namespace {

struct Options {
  std::string_view reference;
  std::string oci, docker_archive;
  bool json = false;
};

Options parse(Words words) {
  Options options;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto value = [&] {
      if (++i == words.size()) throw Misuse{"an option lacks its value"};
      return std::string(words[i]);
    };
    if (words[i] == "--json")
      options.json = true;
    else if (words[i] == "--oci")
      options.oci = value();
    else if (words[i] == "--docker-archive")
      options.docker_archive = value();
    else if (words[i].starts_with("-"))
      throw Misuse{"unknown option"};
    else if (options.reference.empty())
      options.reference = words[i];
    else
      throw Misuse{"one image at a time"};
  }
  if (options.reference.empty()) throw Misuse{"which image? Name its packages, as in shell/git"};
  return options;
}

struct Totals {
  std::size_t layers = 0;
  std::uint64_t bytes = 0;
};

// Over all images of an index; a layer that two share counts twice.
Totals totals_of(const tree::Tree& tree, const tree::StoredManifest& manifest) {
  Totals totals;
  const auto links = image::links_of(manifest.bytes, manifest.digest);
  for (const image::Link& layer : links.layers) {
    ++totals.layers;
    totals.bytes += layer.size;
  }
  for (const image::Link& member : links.members)
    if (const auto stored = tree.manifest(member.digest)) {
      const Totals of_member = totals_of(tree, *stored);
      totals.layers += of_member.layers;
      totals.bytes += of_member.bytes;
    }
  return totals;
}

void print_json(const std::string& name, const build::BuiltImage& built, const tree::StoredManifest& manifest,
                const Totals& totals) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "reference", name);
  json::member(writer, "digest", manifest.digest.str());
  json::member(writer, "mediaType", image::name_of(manifest.type));
  json::member(writer, "revision", built.revision.id);
  json::member(writer, "layers", totals.layers);
  json::member(writer, "bytes", totals.bytes);
  json::key(writer, "warnings");
  writer.StartArray();
  for (const std::string& warning : built.warnings) json::string(writer, warning);
  writer.EndArray();
  writer.EndObject();
  fmt::print("{}\n", buffer.GetString());
}

int run(Words words) {
  const Options options = parse(words);
  RegistryParts parts(load_config_from_environment().config);
  const auto reference = parts.find(options.reference);
  const std::string name = fmt::format("{}:{}", reference.repository, reference.tag);

  build::BuiltImage built = [&] {
    ProgressLine line(options.json ? ProgressLine::Style::silent : ProgressLine::style_for_standard_error());
    build::Progress progress([&](const build::Snapshot& snapshot) { line.show(snapshot); });
    return build::build_with_tag(parts.road, parts.tree, reference, progress, nullptr, build::ExistingTag::is_replaced);
  }();
  const auto manifest = parts.tree.manifest(built.manifest);
  if (!manifest) throw Error(Failure::storage, "the manifest that was just written is gone");

  if (!options.oci.empty()) build::export_oci_layout(parts.tree, built.manifest, name, options.oci);
  if (!options.docker_archive.empty())
    build::export_docker_archive(parts.tree, built.manifest, parts.config.platforms.front().architecture(), name,
                                 options.docker_archive);
  const Totals totals = totals_of(parts.tree, *manifest);
  if (options.json) {
    print_json(name, built, *manifest, totals);
    return 0;
  }
  for (const std::string& warning : built.warnings) fmt::print(stderr, "warning: {}\n", warning);
  fmt::print("{} {}\n{} layers, {:.1f} MB compressed\n", name, manifest->digest.str(), totals.layers,
             static_cast<double>(totals.bytes) / 1e6);
  if (!options.oci.empty()) fmt::print("OCI layout: {}\n", options.oci);
  if (!options.docker_archive.empty()) fmt::print("archive for docker load: {}\n", options.docker_archive);
  return 0;
}

}  // namespace

const Command build = {"build", "nixery build [--json] [--oci DIR] [--docker-archive FILE] REF",
                       "build an image without any server",
                       "Builds the image into the tree (NIXERY_TREE), as a pull of it would, and optionally also into\n"
                       "  --oci DIR              an OCI layout directory, for skopeo, podman, umoci\n"
                       "  --docker-archive FILE  an archive for `docker load`\n"
                       "  --json                 prints what was built as JSON; no progress\n"
                       "REF is a name as for docker pull, without the host: shell/git, arm64/curl, "
                       "python3packages.requests:nixos-23.11.\n",
                       run};

}  // namespace nixery::command
