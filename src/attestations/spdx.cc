#include "attestations/spdx.h"

#include <fmt/format.h>

#include <algorithm>

#include "attestations/license.h"
#include "attestations/license_ids.h"
#include "json/json.h"

namespace nixery::attestations {

namespace {

using json::member;
using json::Writer;

constexpr std::string_view image_id = "SPDXRef-image";
constexpr std::string_view unknown = "NOASSERTION";

// Only letters, digits, dots and dashes (clause 7.2). The path's unchanged hash makes it unique.
std::string id_of(const store::StorePath& path) {
  std::string id = "SPDXRef-" + std::string(path.base_name());
  std::replace_if(
      id.begin(), id.end(), [](char c) { return c == '+' || c == '_' || c == '?' || c == '='; }, '-');
  return id;
}

void write_checksum(Writer& writer, std::string_view hex) {
  json::key(writer, "checksums");
  writer.StartArray();
  writer.StartObject();
  member(writer, "algorithm", "SHA256");
  member(writer, "checksumValue", hex);
  writer.EndObject();
  writer.EndArray();
}

void write_purl(Writer& writer, std::string_view purl) {
  json::key(writer, "externalRefs");
  writer.StartArray();
  writer.StartObject();
  member(writer, "referenceCategory", "PACKAGE-MANAGER");
  member(writer, "referenceType", "purl");
  member(writer, "referenceLocator", purl);
  writer.EndObject();
  writer.EndArray();
}

// Required fields whose values are unknown (clauses 7.5 to 7.17).
void write_unknowns(Writer& writer, std::string_view declared_license) {
  member(writer, "supplier", unknown);
  member(writer, "downloadLocation", unknown);
  json::key(writer, "filesAnalyzed");
  writer.Bool(false);
  member(writer, "licenseConcluded", unknown);
  member(writer, "licenseDeclared", declared_license);
  member(writer, "copyrightText", unknown);
}

void write_image(Writer& writer, const Subject& subject) {
  writer.StartObject();
  member(writer, "SPDXID", image_id);
  member(writer, "name", image_name(subject));
  member(writer, "versionInfo", subject.manifest.digest.str());
  member(writer, "primaryPackagePurpose", "CONTAINER");
  write_unknowns(writer, unknown);
  write_checksum(writer, subject.manifest.digest.hex());
  write_purl(writer, image_purl(subject));
  member(writer, "comment", "SHA256 is of the image's manifest.");
  writer.EndObject();
}

std::string declared_license(const nix::Package& package, LicenseRefs& refs) {
  std::vector<License> licenses;
  for (const std::string& given : package.licenses) {
    licenses.push_back(license_of(given));
    refs.insert(licenses.back().refs.begin(), licenses.back().refs.end());
  }
  return licenses.empty() ? std::string(unknown) : joined_expression(licenses);
}

void write_component(Writer& writer, const Component& component, LicenseRefs& refs) {
  const nix::Package* package = component.package;
  writer.StartObject();
  member(writer, "SPDXID", id_of(component.info->path));
  member(writer, "name", component.name);
  if (!component.version.empty()) member(writer, "versionInfo", component.version);
  member(writer, "packageFileName", component.info->path.str());
  write_unknowns(writer, package ? declared_license(*package, refs) : std::string(unknown));
  if (package) {
    if (is_web_address(package->homepage)) member(writer, "homepage", package->homepage);
    if (!package->description.empty()) member(writer, "summary", package->description);
    if (!package->drv_path.empty()) member(writer, "sourceInfo", fmt::format("built from {}", package->drv_path));
  }
  write_checksum(writer, component.info->nar_hash);
  write_purl(writer, component.purl);
  member(writer, "comment", "SHA256 is of the store path's NAR.");
  writer.EndObject();
}

void write_relationship(Writer& writer, std::string_view from, std::string_view type, std::string_view to) {
  writer.StartObject();
  member(writer, "spdxElementId", from);
  member(writer, "relationshipType", type);
  member(writer, "relatedSpdxElement", to);
  writer.EndObject();
}

void write_relationships(Writer& writer, const std::vector<Component>& components) {
  std::vector<std::string> ids;
  ids.reserve(components.size());
  for (const Component& component : components) ids.push_back(id_of(component.info->path));
  json::key(writer, "relationships");
  writer.StartArray();
  write_relationship(writer, "SPDXRef-DOCUMENT", "DESCRIBES", image_id);
  for (const std::string& id : ids) write_relationship(writer, image_id, "CONTAINS", id);
  for (std::size_t i = 0; i < components.size(); ++i)
    for (const std::uint32_t reference : components[i].info->references)
      write_relationship(writer, ids[i], "DEPENDS_ON", ids[reference]);
  writer.EndArray();
}

// Clause 10: every LicenseRef must be explained.
void write_license_refs(Writer& writer, const LicenseRefs& refs) {
  if (refs.empty()) return;
  json::key(writer, "hasExtractedLicensingInfos");
  writer.StartArray();
  for (const auto& [ref, name] : refs) {
    writer.StartObject();
    member(writer, "licenseId", ref);
    member(writer, "name", name);
    member(writer, "extractedText", fmt::format("The package set names this licence, '{}', without its text.", name));
    writer.EndObject();
  }
  writer.EndArray();
}

}  // namespace

std::string spdx_document(const Subject& subject) {
  const auto components = components_of(subject);
  LicenseRefs refs;
  json::Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  member(writer, "spdxVersion", "SPDX-2.3");
  member(writer, "dataLicense", "CC0-1.0");
  member(writer, "SPDXID", "SPDXRef-DOCUMENT");
  member(writer, "name", image_name(subject));
  json::key(writer, "creationInfo");
  writer.StartObject();
  member(writer, "created", created);
  json::key(writer, "creators");
  writer.StartArray();
  json::string(writer, fmt::format("Tool: nixery-{}", format_version));
  writer.EndArray();
  member(writer, "licenseListVersion", license_list_version);
  writer.EndObject();
  json::key(writer, "packages");
  writer.StartArray();
  write_image(writer, subject);
  for (const Component& component : components) write_component(writer, component, refs);
  writer.EndArray();
  write_license_refs(writer, refs);
  write_relationships(writer, components);
  // Clause 6.5: unique to the document, so it is computed last, from everything written before.
  const std::string namespace_of_all = "urn:uuid:" + uuid_of({buffer.GetString(), buffer.GetSize()});
  member(writer, "documentNamespace", namespace_of_all);
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace nixery::attestations
