#include "attestations/cyclonedx.h"

#include <fmt/format.h>

#include <algorithm>

#include "attestations/license.h"
#include "json/json.h"

namespace nixery::attestations {

namespace {

using json::member;
using json::Writer;

constexpr std::string_view image_ref = "image";

void write_hash(Writer& writer, std::string_view hex) {
  json::key(writer, "hashes");
  writer.StartArray();
  writer.StartObject();
  member(writer, "alg", "SHA-256");
  member(writer, "content", hex);
  writer.EndObject();
  writer.EndArray();
}

// Either single licences or one expression: the format allows no mixture.
void write_licenses(Writer& writer, const std::vector<std::string>& given) {
  if (given.empty()) return;
  std::vector<License> licenses;
  for (const std::string& text : given) licenses.push_back(license_of(text));
  const bool single = std::none_of(licenses.begin(), licenses.end(),
                                   [](const License& l) { return l.kind == License::Kind::expression; });
  json::key(writer, "licenses");
  writer.StartArray();
  if (!single) {
    writer.StartObject();
    member(writer, "expression", joined_expression(licenses));
    writer.EndObject();
  }
  for (std::size_t i = 0; single && i < licenses.size(); ++i) {
    writer.StartObject();
    json::key(writer, "license");
    writer.StartObject();
    if (licenses[i].kind == License::Kind::identifier) {
      member(writer, "id", licenses[i].expression);
    } else {
      member(writer, "name", given[i]);
    }
    writer.EndObject();
    writer.EndObject();
  }
  writer.EndArray();
}

void write_homepage(Writer& writer, std::string_view homepage) {
  if (!is_web_address(homepage)) return;
  json::key(writer, "externalReferences");
  writer.StartArray();
  writer.StartObject();
  member(writer, "type", "website");
  member(writer, "url", homepage);
  writer.EndObject();
  writer.EndArray();
}

void write_property(Writer& writer, std::string_view name, std::string_view value) {
  writer.StartObject();
  member(writer, "name", name);
  member(writer, "value", value);
  writer.EndObject();
}

void write_component(Writer& writer, const Component& component) {
  const nix::Package* package = component.package;
  const std::string& path = component.info->path.str();
  writer.StartObject();
  member(writer, "type", package ? "application" : "library");
  member(writer, "bom-ref", path);
  member(writer, "name", component.name);
  if (!component.version.empty()) member(writer, "version", component.version);
  if (package && !package->description.empty()) member(writer, "description", package->description);
  write_hash(writer, component.info->nar_hash);
  if (package) write_licenses(writer, package->licenses);
  member(writer, "purl", component.purl);
  if (package) write_homepage(writer, package->homepage);
  json::key(writer, "properties");
  writer.StartArray();
  write_property(writer, "nix:output_path", path);
  if (package && !package->drv_path.empty()) write_property(writer, "nix:drv_path", package->drv_path);
  write_property(writer, "nix:hash_of", "nar");
  writer.EndArray();
  writer.EndObject();
}

void write_metadata(Writer& writer, const Subject& subject) {
  json::key(writer, "metadata");
  writer.StartObject();
  member(writer, "timestamp", created);
  json::key(writer, "tools");
  writer.StartObject();
  json::key(writer, "components");
  writer.StartArray();
  writer.StartObject();
  member(writer, "type", "application");
  member(writer, "name", "nixery");
  member(writer, "version", fmt::format("{}", format_version));
  writer.EndObject();
  writer.EndArray();
  writer.EndObject();
  json::key(writer, "component");
  writer.StartObject();
  member(writer, "type", "container");
  member(writer, "bom-ref", image_ref);
  member(writer, "name", image_name(subject));
  member(writer, "version", subject.manifest.digest.str());
  write_hash(writer, subject.manifest.digest.hex());
  member(writer, "purl", image_purl(subject));
  writer.EndObject();
  writer.EndObject();
}

void write_dependency(Writer& writer, std::string_view ref, const std::vector<std::uint32_t>& on,
                      const std::vector<Component>& components) {
  writer.StartObject();
  member(writer, "ref", ref);
  json::key(writer, "dependsOn");
  writer.StartArray();
  for (const std::uint32_t index : on) json::string(writer, components[index].info->path.str());
  writer.EndArray();
  writer.EndObject();
}

void write_dependencies(Writer& writer, const std::vector<Component>& components) {
  json::key(writer, "dependencies");
  writer.StartArray();
  write_dependency(writer, image_ref, roots_of(components), components);
  for (const Component& component : components)
    write_dependency(writer, component.info->path.str(), component.info->references, components);
  writer.EndArray();
}

// A closure is complete by definition: no path in the image refers to an unlisted store path.
void write_completeness(Writer& writer) {
  json::key(writer, "compositions");
  writer.StartArray();
  writer.StartObject();
  member(writer, "aggregate", "complete");
  json::key(writer, "dependencies");
  writer.StartArray();
  json::string(writer, image_ref);
  writer.EndArray();
  writer.EndObject();
  writer.EndArray();
}

}  // namespace

std::string cyclonedx_document(const Subject& subject) {
  const auto components = components_of(subject);
  json::Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  member(writer, "bomFormat", "CycloneDX");
  member(writer, "specVersion", "1.5");
  json::key(writer, "version");
  writer.Int(1);
  write_metadata(writer, subject);
  json::key(writer, "components");
  writer.StartArray();
  for (const Component& component : components) write_component(writer, component);
  writer.EndArray();
  write_dependencies(writer, components);
  write_completeness(writer);
  // Unique to the document, so it is computed last, from everything written before.
  const std::string serial = "urn:uuid:" + uuid_of({buffer.GetString(), buffer.GetSize()});
  member(writer, "serialNumber", serial);
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace nixery::attestations
