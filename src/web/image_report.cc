#include "web/image_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "attestations/cyclonedx.h"
#include "attestations/signature.h"
#include "error.h"
#include "image/parse.h"
#include "json/json.h"
#include "layer/recipe.h"
#include "tree/referrers.h"

namespace nixery::web {

namespace {

constexpr std::uint64_t largest_document = 16u << 20;  // bytes: larger documents are not read
constexpr std::size_t most_paths = 20'000;             // of an image
constexpr const char* title_prefix = "org.opencontainers.image.";

// nullopt also if it is damaged.
std::optional<std::string> small_blob(const tree::Tree& tree, const image::ParsedDescriptor& blob) {
  if (blob.size > largest_document) return std::nullopt;
  auto bytes = tree::read_if_readable(tree.store(), tree::ObjectName::blob(blob.digest));
  return bytes && image::Digest::of(*bytes) == blob.digest ? std::move(bytes) : std::nullopt;
}

std::optional<json::Document> document_of(const tree::Tree& tree, const image::ParsedDescriptor& blob) {
  const auto text = small_blob(tree, blob);
  if (!text) return std::nullopt;
  try {
    return json::parse(*text, blob.digest.str());
  } catch (const Error&) {
    return std::nullopt;
  }
}

tree::StoredManifest manifest_of(const tree::Tree& tree, const image::Digest& digest) {
  if (auto stored = tree.manifest(digest)) return *std::move(stored);
  throw Error(Failure::unknown_manifest, fmt::format("the manifest {} is gone: pull the image again", digest.str()));
}

// Empty for a missing or damaged config.
image::ParsedConfig config_of(const tree::Tree& tree, const image::ParsedDescriptor& config) {
  try {
    if (const auto text = small_blob(tree, config)) return image::parse_config(*text, config.digest);
  } catch (const Error&) {  // damaged
  }
  return {};
}

void write_map(json::Writer& writer, std::string_view key, const std::map<std::string, std::string>& strings) {
  json::key(writer, key);
  writer.StartObject();
  for (const auto& [name, value] : strings) json::member(writer, name, value);
  writer.EndObject();
}

std::vector<std::string> licenses_in(const json::Value& component) {
  std::vector<std::string> names;
  const json::Value* list = json::find(component, "licenses");
  if (!list || !list->IsArray()) return names;
  for (const json::Value& entry : list->GetArray()) {
    std::string name = json::string_or(entry, "expression", "");
    if (const json::Value* license = json::find(entry, "license"))
      name = json::string_or(*license, "id", json::string_or(*license, "name", ""));
    if (!name.empty()) names.push_back(std::move(name));
  }
  return names;
}

std::string homepage_in(const json::Value& component) {
  if (const json::Value* list = json::find(component, "externalReferences"); list && list->IsArray())
    for (const json::Value& entry : list->GetArray())
      if (json::string_or(entry, "type", "") == "website") return json::string_or(entry, "url", "");
  return {};
}

// From the SBOM, which has most details; a package may have several outputs in it.
bool write_packages_of_sbom(json::Writer& writer, const json::Document& sbom) {
  const json::Value* components = json::find(sbom, "components");
  if (!components || !components->IsArray()) return false;
  std::vector<std::string> seen;
  for (const json::Value& component : components->GetArray()) {
    if (json::string_or(component, "type", "") != "application") continue;
    const std::string name = json::string_or(component, "name", ""),
                      version = json::string_or(component, "version", "");
    if (std::find(seen.begin(), seen.end(), name + " " + version) != seen.end()) continue;
    seen.push_back(name + " " + version);
    writer.StartObject();
    json::member(writer, "name", name);
    json::member(writer, "version", version);
    json::member(writer, "description", json::string_or(component, "description", ""));
    json::member(writer, "homepage", homepage_in(component));
    json::member(writer, "purl", json::string_or(component, "purl", ""));
    json::member_strings(writer, "licenses", licenses_in(component));
    writer.EndObject();
  }
  return true;
}

// "git=2.39 curl=8.0": all that is known without an SBOM.
void write_packages_of_label(json::Writer& writer, std::string_view label) {
  while (!label.empty()) {
    const auto end = std::min(label.find(' '), label.size());
    const std::string_view entry = label.substr(0, end);
    const auto equals = std::min(entry.find('='), entry.size());
    if (!entry.empty()) {
      writer.StartObject();
      json::member(writer, "name", entry.substr(0, equals));
      json::member(writer, "version", entry.substr(std::min(equals + 1, entry.size())));
      writer.EndObject();
    }
    label.remove_prefix(std::min(end + 1, label.size()));
  }
}

void write_layers(json::Writer& writer, const tree::Tree& tree, const image::ParsedManifest& links,
                  const image::ParsedConfig& config) {
  std::size_t written = 0;
  json::key(writer, "layers");
  writer.StartArray();
  for (std::size_t i = 0; i < links.layers.size(); ++i) {
    const image::ParsedDescriptor& layer = links.layers[i];
    const auto recipe = layer::read_recipe(tree.store(), layer.digest);
    writer.StartObject();
    json::member(writer, "digest", layer.digest.str());
    json::member(writer, "size", layer.size);
    if (recipe) json::member(writer, "unpacked", recipe->tar_size);
    json::member(writer, "reason", i < config.created_by.size() ? config.created_by[i] : "");
    json::key(writer, "paths");
    writer.StartArray();
    if (recipe)
      for (const layer::Segment& segment : recipe->segments) {
        if (segment.path.empty() || written++ >= most_paths) continue;
        writer.StartObject();
        json::member(writer, "path", segment.path);
        json::member(writer, "size", segment.tar_length);
        writer.EndObject();
      }
    writer.EndArray();
    writer.EndObject();
  }
  writer.EndArray();
}

struct Attached {
  image::Descriptor descriptor;
  std::optional<image::ParsedDescriptor> document;  // its only blob
};

std::vector<Attached> attached_to(const tree::Tree& tree, const image::Digest& subject) {
  std::vector<Attached> all;
  for (image::Descriptor& descriptor : tree::referrers_of(tree.store(), subject)) {
    std::optional<image::ParsedDescriptor> document;
    try {
      if (const auto stored = tree.manifest(descriptor.digest))
        if (auto links = image::parse_manifest(stored->bytes, stored->digest); links.layers.size() == 1)
          document = links.layers.front();
    } catch (const Error&) {  // it stays in the list
    }
    all.push_back({std::move(descriptor), std::move(document)});
  }
  return all;
}

void write_attached(json::Writer& writer, std::string_view repository, const std::vector<Attached>& attached) {
  json::key(writer, "referrers");
  writer.StartArray();
  for (const auto& [descriptor, document] : attached) {
    writer.StartObject();
    json::member(writer, "type", descriptor.artifact_type);
    json::member(writer, "digest", descriptor.digest.str());
    json::member(writer, "manifest", fmt::format("/v2/{}/manifests/{}", repository, descriptor.digest.str()));
    if (document) {
      json::member(writer, "document", fmt::format("/v2/{}/blobs/{}", repository, document->digest.str()));
      json::member(writer, "size", document->size);
    }
    writer.EndObject();
  }
  writer.EndArray();
}

void write_image(json::Writer& writer, const tree::Tree& tree, std::string_view repository,
                 const tree::StoredManifest& stored, const image::ParsedManifest& links) {
  const image::ParsedConfig config = config_of(tree, *links.config);
  const auto attached = attached_to(tree, stored.digest);
  std::uint64_t size = links.config->size;
  for (const image::ParsedDescriptor& layer : links.layers) size += layer.size;

  writer.StartObject();
  json::member(writer, "digest", stored.digest.str());
  json::member(writer, "mediaType", image::name_of(stored.type));
  json::member(writer, "os", config.os);
  json::member(writer, "architecture", config.architecture);
  json::member(writer, "size", size);
  write_map(writer, "labels", config.labels);
  json::key(writer, "packages");
  writer.StartArray();
  const auto sbom = std::find_if(attached.begin(), attached.end(), [](const Attached& each) {
    return each.document && each.descriptor.artifact_type == attestations::cyclonedx_media_type;
  });
  const auto document = sbom == attached.end() ? std::nullopt : document_of(tree, *sbom->document);
  if (!document || !write_packages_of_sbom(writer, *document)) {
    const auto label = config.labels.find("io.nixery.packages");
    write_packages_of_label(writer, label == config.labels.end() ? "" : label->second);
  }
  writer.EndArray();
  write_layers(writer, tree, links, config);
  write_attached(writer, repository, attached);
  writer.EndObject();
}

}  // namespace

std::string image_report(const tree::Tree& tree, std::string_view repository, std::string_view tag,
                         const image::Digest& manifest) {
  const auto stored = manifest_of(tree, manifest);
  const auto links = image::parse_manifest(stored.bytes, manifest);
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "reference", fmt::format("{}:{}", repository, tag));
  json::member(writer, "digest", manifest.str());
  json::member(writer, "mediaType", image::name_of(stored.type));
  const std::string signature = attestations::signature_tag(manifest);
  if (tree.digest_of_tag(repository, signature))
    json::member(writer, "signature", fmt::format("/v2/{}/manifests/{}", repository, signature));
  json::key(writer, "images");
  writer.StartArray();
  if (links.config) {
    write_image(writer, tree, repository, stored, links);
  } else {
    for (const image::ParsedDescriptor& member : links.members) {
      const auto one = manifest_of(tree, member.digest);
      if (const auto parts = image::parse_manifest(one.bytes, one.digest); parts.config)
        write_image(writer, tree, repository, one, parts);
    }
  }
  writer.EndArray();
  if (!links.config) write_attached(writer, repository, attached_to(tree, manifest));
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

ImageSummary summary_of(const tree::Tree& tree, const image::Digest& manifest) {
  ImageSummary summary;
  const auto stored = tree.manifest(manifest);
  if (!stored) return summary;
  try {
    const auto links = image::parse_manifest(stored->bytes, manifest);
    for (const image::ParsedDescriptor& member : links.members)
      if (!member.architecture().empty()) summary.architectures.emplace_back(member.architecture());
    if (!links.config && !links.members.empty()) {
      const auto architectures = summary.architectures;
      summary = summary_of(tree, links.members.front().digest);
      summary.architectures = architectures;
      return summary;
    }
    if (!links.config) return summary;
    summary.size = links.config->size;
    summary.layers = links.layers.size();
    for (const image::ParsedDescriptor& layer : links.layers) summary.size += layer.size;
    const auto annotation = [&](const char* name) {
      const auto found = links.annotations.find(std::string(title_prefix) + name);
      return found == links.annotations.end() ? std::string() : found->second;
    };
    summary.description = annotation("description");
    summary.version = annotation("version");
  } catch (const Error&) {  // not a manifest of ours
  }
  return summary;
}

}  // namespace nixery::web
