#include "pipeline/plan_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "json/json.h"
#include "layer/index.h"

namespace nixery::pipeline {

namespace {

void write_strings(json::Writer& writer, std::string_view key, const std::vector<std::string>& strings,
                   std::size_t most) {
  json::key(writer, key);
  writer.StartArray();
  for (std::size_t i = 0; i < std::min(most, strings.size()); ++i) json::string(writer, strings[i]);
  writer.EndArray();
}

void write_package(json::Writer& writer, const nix::Package& package) {
  writer.StartObject();
  json::member(writer, "attribute", package.attribute);
  json::member(writer, "version", package.version);
  json::member(writer, "description", package.description);
  json::member(writer, "derivation", package.drv_path);
  json::key(writer, "outputs");
  writer.StartArray();
  for (const nix::Output& output : package.outputs) json::string(writer, output.path.str());
  writer.EndArray();
  writer.EndObject();
}

void write_layers(json::Writer& writer, const PlanReport& report) {
  const auto& [closure, layers, with_root] = report.layered;
  json::member(writer, "closurePaths", closure.paths.size());
  json::member(writer, "closureBytes", closure.nar_size());
  json::key(writer, "layers");
  writer.StartArray();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    writer.StartObject();
    json::member(writer, "bytes", layers[i].nar_size);
    json::member(writer, "reason", layers[i].reason);
    json::key(writer, "inTree");
    writer.Bool(report.in_tree[i]);
    if (i == with_root) {
      json::key(writer, "withRootFileSystem");
      writer.Bool(true);
    }
    json::key(writer, "paths");
    writer.StartArray();
    for (const auto index : layers[i].paths) json::string(writer, closure.paths[index].path.str());
    writer.EndArray();
    writer.EndObject();
  }
  writer.EndArray();
}

}  // namespace

PlanReport report_plan(const ImagePipeline& pipeline, const tree::Tree& tree, ResolvedImage image,
                       const std::stop_token& stop) {
  PlanReport report{std::move(image), {}, {}, {}};
  report.missing = nix::missing_for(report.image.contents(), stop);
  if (!report.missing.complete()) return report;
  report.layered = pipeline.plan(report.image, stop);
  const auto& [closure, layers, with_root] = report.layered;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layer::Contents contents{{}, paths_of(layers[i], closure)};
    if (i == with_root) contents.entries = root_of(report.image, closure, stop).entries;
    report.in_tree.push_back(
        layer::find_layer(tree.store(), layer::layer_key(report.image.encoding, contents)).has_value());
  }
  return report;
}

std::string to_json(const PlanReport& report, std::size_t most) {
  const ResolvedImage& image = report.image;
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "reference", fmt::format("{}:{}", image.reference.repository, image.reference.tag));
  json::member(writer, "system", image.platform.nix_system);
  json::member(writer, "encoding", image.encoding.name());
  json::member(writer, "revision", image.source.revision.id);
  json::key(writer, "packages");
  writer.StartArray();
  for (const nix::Package* package : image.contents()) write_package(writer, *package);
  writer.EndArray();
  json::member(writer, "toBuildCount", report.missing.to_build.size());
  json::member(writer, "toFetchCount", report.missing.to_fetch.size());
  write_strings(writer, "toBuild", report.missing.to_build, most);
  write_strings(writer, "toFetch", report.missing.to_fetch, most);
  if (!report.missing.download.empty()) json::member(writer, "download", report.missing.download);
  if (report.missing.complete()) write_layers(writer, report);
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace nixery::pipeline
