#include "attestations/manifest_json.h"

#include "json/json.h"

namespace nixery::attestations {

namespace {

using json::member;
using json::Writer;

void write_annotations(Writer& writer, const image::Annotations& annotations) {
  if (annotations.empty()) return;
  json::key(writer, "annotations");
  writer.StartObject();
  for (const auto& [name, value] : annotations) member(writer, name, value);
  writer.EndObject();
}

void write_descriptor(Writer& writer, std::string_view key, std::string_view type, const image::Digest& digest,
                      std::uint64_t size, const image::Annotations& annotations) {
  if (!key.empty()) json::key(writer, key);
  writer.StartObject();
  member(writer, "mediaType", type);
  member(writer, "digest", digest.str());
  member(writer, "size", size);
  write_annotations(writer, annotations);
  writer.EndObject();
}

void write_blob(Writer& writer, std::string_view key, const DescribedBlob& blob) {
  write_descriptor(writer, key, blob.media_type, image::Digest::of(blob.bytes), blob.bytes.size(), blob.annotations);
}

}  // namespace

std::string to_json(const ManifestJson& manifest) {
  json::Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "schemaVersion");
  writer.Int(2);
  member(writer, "mediaType", image::name_of(image::MediaType::oci_manifest));
  if (!manifest.artifact_type.empty()) member(writer, "artifactType", manifest.artifact_type);
  write_blob(writer, "config", manifest.config);
  json::key(writer, "layers");
  writer.StartArray();
  write_blob(writer, "", manifest.layer);
  writer.EndArray();
  if (manifest.subject) {
    const image::Descriptor& subject = *manifest.subject;
    write_descriptor(writer, "subject", image::name_of(subject.type), subject.digest, subject.size, {});
  }
  write_annotations(writer, manifest.annotations);
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

Artifact artifact_of(const ManifestJson& manifest) {
  const std::string bytes = to_json(manifest);
  return {{std::string(manifest.config.bytes), std::string(manifest.layer.bytes)},
          bytes,
          {image::MediaType::oci_manifest,
           image::Digest::of(bytes),
           bytes.size(),
           manifest.annotations,
           {},
           std::string(manifest.artifact_type)}};
}

}  // namespace nixery::attestations
