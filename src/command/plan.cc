#include <fmt/format.h>

#include "command/command.h"
#include "command/registry_parts.h"
#include "json/json.h"

namespace nixery::command {

namespace {

std::string megabytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

// A layer of the plan, with whether the tree has it.
struct PlannedLayer {
  const plan::Layer* layer;
  bool present;
};

std::vector<PlannedLayer> look_up(const build::ResolvedImage& image, const build::LayeredClosure& layered,
                                  const tree::Tree& tree) {
  std::vector<PlannedLayer> planned;
  for (const plan::Layer& layer : layered.layers) {
    const layer::Contents contents{{}, build::paths_of(layer, layered.closure)};
    planned.push_back(
        {&layer, layer::find_layer(tree.layout(), layer::layer_key(image.encoding, contents)).has_value()});
  }
  return planned;
}

void print_text(const build::ResolvedImage& image, const nix::Missing& missing) {
  fmt::print("{}:{} for {}/{}, {}, revision {}\n\npackages:\n", image.reference.repository, image.reference.tag,
             image.platform.os, image.platform.architecture(), image.encoding.name(), image.source.revision.id);
  for (const nix::Package* package : image.contents()) {
    fmt::print("  {} {}  {}\n", package->attribute, package->version, package->description);
    for (const nix::Output& output : package->outputs) fmt::print("    {}  {}\n", output.name, output.path.str());
  }
  if (missing.complete()) return;
  fmt::print("\nnot in the store yet: {} to build, {} to fetch{}\n", missing.to_build.size(), missing.to_fetch.size(),
             missing.download.empty() ? "" : " (" + missing.download + ")");
  for (const std::string& path : missing.to_build) fmt::print("  build {}\n", path);
  for (const std::string& path : missing.to_fetch) fmt::print("  fetch {}\n", path);
  fmt::print("the layers can be planned once all is there: run `nixery build`\n");
}

void print_layers(const build::LayeredClosure& layered, const std::vector<PlannedLayer>& planned) {
  std::uint64_t present = 0;
  for (const PlannedLayer& entry : planned) present += entry.present ? entry.layer->nar_size : 0;
  fmt::print("\nclosure: {} paths, {}, in {} layers and the root file system; {} of it is in the tree\n",
             layered.closure.paths.size(), megabytes(layered.closure.nar_size()), layered.layers.size(),
             megabytes(present));
  for (std::size_t i = 0; i < planned.size(); ++i) {
    fmt::print("{:3}. {:>10}  {}{}\n", i + 1, megabytes(planned[i].layer->nar_size), planned[i].layer->reason,
               planned[i].present ? "  [in the tree]" : "");
    for (const auto index : planned[i].layer->paths) {
      const store::PathInfo& info = layered.closure.paths[index];
      fmt::print("       {:>10}  {}\n", megabytes(info.nar_size), info.path.name());
    }
  }
}

void write_strings(json::Writer& writer, std::string_view key, const std::vector<std::string>& strings) {
  json::key(writer, key);
  writer.StartArray();
  for (const std::string& text : strings) json::string(writer, text);
  writer.EndArray();
}

void print_json(const build::ResolvedImage& image, const nix::Missing& missing, const build::LayeredClosure& layered,
                const std::vector<PlannedLayer>& planned) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "reference", fmt::format("{}:{}", image.reference.repository, image.reference.tag));
  json::member(writer, "system", image.platform.nix_system);
  json::member(writer, "encoding", image.encoding.name());
  json::member(writer, "revision", image.source.revision.id);
  json::key(writer, "packages");
  writer.StartArray();
  for (const nix::Package* package : image.contents()) {
    writer.StartObject();
    json::member(writer, "attribute", package->attribute);
    json::member(writer, "version", package->version);
    json::member(writer, "description", package->description);
    json::member(writer, "derivation", package->drv_path);
    std::vector<std::string> outputs;
    for (const nix::Output& output : package->outputs) outputs.push_back(output.path.str());
    write_strings(writer, "outputs", outputs);
    writer.EndObject();
  }
  writer.EndArray();
  write_strings(writer, "toBuild", missing.to_build);
  write_strings(writer, "toFetch", missing.to_fetch);
  if (missing.complete()) {
    json::member(writer, "closurePaths", layered.closure.paths.size());
    json::member(writer, "closureBytes", layered.closure.nar_size());
    json::key(writer, "layers");
    writer.StartArray();
    for (const PlannedLayer& entry : planned) {
      writer.StartObject();
      json::member(writer, "bytes", entry.layer->nar_size);
      json::member(writer, "reason", entry.layer->reason);
      json::key(writer, "inTree");
      writer.Bool(entry.present);
      std::vector<std::string> paths;
      for (const auto index : entry.layer->paths) paths.push_back(layered.closure.paths[index].path.str());
      write_strings(writer, "paths", paths);
      writer.EndObject();
    }
    writer.EndArray();
  }
  writer.EndObject();
  fmt::print("{}\n", buffer.GetString());
}

void show(const RegistryParts& parts, const build::ResolvedImage& image, bool as_json) {
  const auto missing = nix::missing_for(image.contents());
  build::LayeredClosure layered;
  if (missing.complete()) layered = parts.road.plan(image);
  const auto planned = look_up(image, layered, parts.tree);
  if (as_json) {
    print_json(image, missing, layered, planned);
  } else {
    print_text(image, missing);
    if (missing.complete()) print_layers(layered, planned);
  }
}

int run(Words words) {
  std::string_view name;
  bool as_json = false;
  for (const std::string_view word : words) {
    if (word == "--json")
      as_json = true;
    else if (word.starts_with("-"))
      throw Misuse{"unknown option"};
    else if (name.empty())
      name = word;
    else
      throw Misuse{"one image at a time"};
  }
  if (name.empty()) throw Misuse{"which image? Name its packages, as in shell/git"};

  RegistryParts parts(load_config_from_environment().config);
  const auto reference = parts.find(name);
  build::Progress nobody_watches;
  const auto source = parts.road.pin(reference, nobody_watches);
  // Of an index, every member.
  const auto platforms = reference.platform ? std::vector{*reference.platform} : parts.config.platforms;
  for (const reference::Platform& platform : platforms) {
    auto wanted = reference;
    wanted.platform = platform;
    show(parts, parts.road.resolve(wanted, source, nobody_watches, {}), as_json);
  }
  return 0;
}

}  // namespace

const Command plan = {
    "plan", "nixery plan [--json] REF", "show what an image would hold and why; build nothing",
    "Shows the packages with their versions, what nix would have to build or fetch, and, once all of it is in the "
    "store,\n"
    "the layers: what each holds, why it is a layer of its own, and whether the tree has it already. Where a name "
    "stands\n"
    "for several platforms, one after the other; --json prints a line of JSON for each.\n",
    run};

}  // namespace nixery::command
