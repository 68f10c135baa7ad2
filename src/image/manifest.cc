#include "image/manifest.h"

#include "json/json.h"

namespace nixery::image {

namespace {

using json::member;
using json::Writer;

void write_strings(Writer& writer, std::string_view key, const std::vector<std::string>& strings) {
  if (!strings.empty()) json::member_strings(writer, key, strings);
}

void write_map(Writer& writer, std::string_view key, const Annotations& map) {
  if (map.empty()) return;
  json::key(writer, key);
  writer.StartObject();
  for (const auto& [name, value] : map) member(writer, name, value);
  writer.EndObject();
}

void write_platform(Writer& writer, const PlatformName& platform) {
  member(writer, "architecture", platform.architecture);
  member(writer, "os", platform.os);
  if (!platform.variant.empty()) member(writer, "variant", platform.variant);
}

void write_descriptor(Writer& writer, const Descriptor& descriptor) {
  writer.StartObject();
  member(writer, "mediaType", name_of(descriptor.type));
  member(writer, "digest", descriptor.digest.str());
  member(writer, "size", descriptor.size);
  if (!descriptor.artifact_type.empty()) member(writer, "artifactType", descriptor.artifact_type);
  if (descriptor.platform) {
    json::key(writer, "platform");
    writer.StartObject();
    write_platform(writer, *descriptor.platform);
    writer.EndObject();
  }
  write_map(writer, "annotations", descriptor.annotations);
  writer.EndObject();
}

void write_blob(Writer& writer, const DescribedBlob& blob) {
  writer.StartObject();
  member(writer, "mediaType", blob.media_type);
  member(writer, "digest", Digest::of(blob.bytes).str());
  member(writer, "size", blob.bytes.size());
  write_map(writer, "annotations", blob.annotations);
  writer.EndObject();
}

// Sets are objects with empty values: {"80/tcp":{}}.
void write_set(Writer& writer, std::string_view key, const std::vector<std::string>& names) {
  if (names.empty()) return;
  json::key(writer, key);
  writer.StartObject();
  for (const std::string& name : names) {
    json::key(writer, name);
    writer.StartObject();
    writer.EndObject();
  }
  writer.EndObject();
}

void write_healthcheck(Writer& writer, const Healthcheck& check) {
  const auto time = [&](std::string_view key, std::chrono::nanoseconds value) {
    if (value.count() > 0) member(writer, key, static_cast<std::uint64_t>(value.count()));
  };
  json::key(writer, "Healthcheck");
  writer.StartObject();
  json::member_strings(writer, "Test", check.test);
  time("Interval", check.interval);
  time("Timeout", check.timeout);
  time("StartPeriod", check.start_period);
  time("StartInterval", check.start_interval);
  if (check.retries > 0) member(writer, "Retries", std::uint64_t{check.retries});
  writer.EndObject();
}

}  // namespace

MediaType manifest_type(Format format) {
  return format == Format::oci ? MediaType::oci_manifest : MediaType::docker_manifest;
}

MediaType index_type(Format format) {
  return format == Format::oci ? MediaType::oci_index : MediaType::docker_manifest_list;
}

MediaType config_type(Format format) {
  return format == Format::oci ? MediaType::oci_config : MediaType::docker_config;
}

std::string to_json(const Config& config) {
  json::Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  member(writer, "created", config.created);
  write_platform(writer, config.platform);
  json::key(writer, "config");
  writer.StartObject();
  if (!config.user.empty()) member(writer, "User", config.user);
  write_set(writer, "ExposedPorts", config.exposed_ports);
  write_strings(writer, "Env", config.env);
  write_strings(writer, "Entrypoint", config.entrypoint);
  write_strings(writer, "Cmd", config.cmd);
  if (!config.workdir.empty()) member(writer, "WorkingDir", config.workdir);
  write_map(writer, "Labels", config.labels);
  write_set(writer, "Volumes", config.volumes);
  if (!config.stop_signal.empty()) member(writer, "StopSignal", config.stop_signal);
  write_strings(writer, "Shell", config.shell);
  if (config.healthcheck) write_healthcheck(writer, *config.healthcheck);
  writer.EndObject();
  json::key(writer, "rootfs");
  writer.StartObject();
  member(writer, "type", "layers");
  json::key(writer, "diff_ids");
  writer.StartArray();
  for (const ConfigLayer& layer : config.layers) json::string(writer, layer.diff_id.str());
  writer.EndArray();
  writer.EndObject();
  json::key(writer, "history");
  writer.StartArray();
  for (const ConfigLayer& layer : config.layers) {
    writer.StartObject();
    member(writer, "created", config.created);
    member(writer, "created_by", layer.created_by);
    writer.EndObject();
  }
  writer.EndArray();
  writer.EndObject();
  return buffer.GetString();
}

std::string to_json(const Manifest& manifest) {
  json::Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "schemaVersion");
  writer.Int(2);
  member(writer, "mediaType", name_of(manifest_type(manifest.format)));
  json::key(writer, "config");
  write_descriptor(writer, manifest.config);
  json::key(writer, "layers");
  writer.StartArray();
  for (const Descriptor& layer : manifest.layers) write_descriptor(writer, layer);
  writer.EndArray();
  if (manifest.format == Format::oci) write_map(writer, "annotations", manifest.annotations);
  writer.EndObject();
  return buffer.GetString();
}

std::string to_json(const ArtifactManifest& manifest) {
  json::Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "schemaVersion");
  writer.Int(2);
  member(writer, "mediaType", name_of(MediaType::oci_manifest));
  if (!manifest.artifact_type.empty()) member(writer, "artifactType", manifest.artifact_type);
  json::key(writer, "config");
  write_blob(writer, manifest.config);
  json::key(writer, "layers");
  writer.StartArray();
  write_blob(writer, manifest.layer);
  writer.EndArray();
  if (manifest.subject) {
    json::key(writer, "subject");
    write_descriptor(writer, {manifest.subject->type, manifest.subject->digest, manifest.subject->size, {}, {}});
  }
  write_map(writer, "annotations", manifest.annotations);
  writer.EndObject();
  return buffer.GetString();
}

std::string to_json(const Descriptor& descriptor) {
  json::Buffer buffer;
  Writer writer(buffer);
  write_descriptor(writer, descriptor);
  return buffer.GetString();
}

std::string to_json(const Index& index) {
  json::Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "schemaVersion");
  writer.Int(2);
  member(writer, "mediaType", name_of(index_type(index.format)));
  json::key(writer, "manifests");
  writer.StartArray();
  for (const Descriptor& manifest : index.manifests) write_descriptor(writer, manifest);
  writer.EndArray();
  if (index.format == Format::oci) write_map(writer, "annotations", index.annotations);
  writer.EndObject();
  return buffer.GetString();
}

}  // namespace nixery::image
