#include "build/export.h"

#include <fmt/format.h>

#include <vector>

#include "error.h"
#include "image/manifest.h"
#include "json/json.h"
#include "layer/tar.h"
#include "os/file.h"

namespace nixery::build {

namespace {

namespace fs = std::filesystem;

struct Parts {
  tree::StoredManifest manifest;
  image::Digest config;
  std::vector<image::Digest> layers;
};

image::Digest digest_at(const json::Value& descriptor) {
  if (auto digest = image::Digest::parse(json::string_or(descriptor, "digest", ""))) return *std::move(digest);
  throw Error(Failure::corrupt, "a manifest in the tree has a descriptor without a digest");
}

Parts parts_of(const tree::Tree& tree, const image::Digest& digest) {
  auto manifest = tree.manifest(digest);
  if (!manifest) throw Error(Failure::unknown_manifest, fmt::format("no manifest {} in the tree", digest.str()));
  const auto document = json::parse(manifest->bytes, digest.str());
  const json::Value* config = json::find(document, "config");
  const json::Value* layers = json::find(document, "layers");
  if (!config || !layers || !layers->IsArray())
    throw Error(Failure::corrupt, fmt::format("{} is no image manifest", digest.str()));
  Parts parts{*std::move(manifest), digest_at(*config), {}};
  for (const json::Value& layer : layers->GetArray()) parts.layers.push_back(digest_at(layer));
  return parts;
}

void append_header(os::PendingFile& archive, const std::string& name, std::uint64_t size) {
  layer::Entry entry = layer::Entry::file(name, "");
  entry.size = size;
  archive.write(layer::tar_header(entry));
}

void append_file(os::PendingFile& archive, const std::string& name, const fs::path& file) {
  const std::uint64_t size = fs::file_size(file);
  append_header(archive, name, size);
  archive.append(file);
  archive.write(layer::tar_padding(size));
}

}  // namespace

void export_oci_layout(const tree::Tree& tree, const image::Digest& digest, const std::string& name,
                       const fs::path& directory) {
  const Parts parts = parts_of(tree, digest);
  const fs::path blobs = directory / "blobs/sha256";
  auto wanted = parts.layers;
  wanted.push_back(parts.config);
  for (const image::Digest& blob : wanted) {
    if (fs::exists(blobs / blob.hex())) continue;
    os::PendingFile copy(blobs);
    copy.append(tree.layout().blob(blob));
    copy.publish(blobs / blob.hex());
  }
  os::write_file(blobs / digest.hex(), parts.manifest.bytes);
  os::write_file(directory / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");

  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "schemaVersion");
  writer.Int(2);
  json::member(writer, "mediaType", image::name_of(image::MediaType::oci_index));
  json::key(writer, "manifests");
  writer.StartArray();
  writer.StartObject();
  json::member(writer, "mediaType", image::name_of(parts.manifest.type));
  json::member(writer, "digest", digest.str());
  json::member(writer, "size", parts.manifest.bytes.size());
  json::key(writer, "annotations");
  writer.StartObject();
  json::member(writer, "org.opencontainers.image.ref.name", name);
  writer.EndObject();
  writer.EndObject();
  writer.EndArray();
  writer.EndObject();
  os::write_file(directory / "index.json", buffer.GetString());
}

void export_docker_archive(const tree::Tree& tree, const image::Digest& digest, const std::string& name,
                           const fs::path& file) {
  const Parts parts = parts_of(tree, digest);
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartArray();
  writer.StartObject();
  json::member(writer, "Config", parts.config.hex() + ".json");
  json::key(writer, "RepoTags");
  writer.StartArray();
  json::string(writer, name);
  writer.EndArray();
  json::key(writer, "Layers");
  writer.StartArray();
  for (const image::Digest& layer : parts.layers) json::string(writer, layer.hex() + ".tar.gz");
  writer.EndArray();
  writer.EndObject();
  writer.EndArray();
  const std::string index = buffer.GetString();

  os::PendingFile archive(fs::absolute(file).parent_path());
  append_file(archive, parts.config.hex() + ".json", tree.layout().blob(parts.config));
  for (const image::Digest& layer : parts.layers)
    append_file(archive, layer.hex() + ".tar.gz", tree.layout().blob(layer));
  append_header(archive, "manifest.json", index.size());
  archive.write(index);
  archive.write(layer::tar_padding(index.size()));
  archive.write(std::string(2 * layer::tar_block, '\0'));
  archive.publish(fs::absolute(file));
}

}  // namespace nixery::build
