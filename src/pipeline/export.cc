#include "pipeline/export.h"

#include <fmt/format.h>

#include <vector>

#include "error.h"
#include "image/manifest.h"
#include "image/oci_layout.h"
#include "image/parse.h"
#include "json/json.h"
#include "layer/tar.h"
#include "os/file.h"
#include "os/lock.h"

namespace nixery::pipeline {

namespace {

namespace fs = std::filesystem;

tree::StoredManifest manifest_of(const tree::Tree& tree, const image::Digest& digest) {
  if (auto manifest = tree.manifest(digest)) return *std::move(manifest);
  throw Error(Failure::unknown_manifest, fmt::format("no manifest {} in the tree", digest.str()));
}

bool has_size(const fs::path& file, std::uint64_t size) {
  std::error_code absent;
  const auto found = fs::file_size(file, absent);
  return !absent && found == size;
}

os::Fd open_blob(const tree::Tree& tree, const image::Digest& digest) {
  if (os::Fd blob = tree.store().open(tree::ObjectName::blob(digest))) return blob;
  throw Error(Failure::unknown_blob, fmt::format("no blob {} in the tree", digest.str()));
}

// The manifest and all that it refers to, as blobs of the layout.
tree::StoredManifest copy_into_layout(const tree::Tree& tree, const image::Digest& digest, const fs::path& blobs) {
  auto stored = manifest_of(tree, digest);
  const auto manifest = image::parse_manifest(stored.bytes, digest);
  for (const image::ParsedDescriptor& member : manifest.members) copy_into_layout(tree, member.digest, blobs);
  auto wanted = manifest.layers;
  if (manifest.config) wanted.push_back(*manifest.config);
  for (const image::ParsedDescriptor& blob : wanted) {
    if (has_size(blobs / blob.digest.hex(), blob.size)) continue;
    os::PendingFile copy(blobs);
    copy.append(open_blob(tree, blob.digest), blob.digest.str());
    copy.publish(blobs / blob.digest.hex());
  }
  os::write_file(blobs / digest.hex(), stored.bytes);
  return stored;
}

// An archive holds one image: of an index, the member for `architecture`.
image::ParsedManifest image_of(const tree::Tree& tree, const image::Digest& digest, std::string_view architecture) {
  auto manifest = image::parse_manifest(manifest_of(tree, digest).bytes, digest);
  if (manifest.members.empty()) return manifest;
  for (const image::ParsedDescriptor& member : manifest.members)
    if (member.architecture() == architecture) return image_of(tree, member.digest, architecture);
  throw Error(Failure::unsupported_platform,
              fmt::format("{} has no image for {}: name the platform, as in arm64/…", digest.str(), architecture));
}

void append_header(os::PendingFile& archive, const std::string& name, std::uint64_t size) {
  layer::Entry entry = layer::Entry::file(name, "");
  entry.size = size;
  archive.write(layer::tar_header(entry));
}

void append_blob(os::PendingFile& archive, const std::string& name, const tree::Tree& tree,
                 const image::Digest& digest) {
  const os::Fd blob = open_blob(tree, digest);
  const std::uint64_t size = os::size_of(blob, digest.str());
  append_header(archive, name, size);
  archive.append(blob, digest.str());
  archive.write(layer::tar_padding(size));
}

}  // namespace

void export_oci_layout(const tree::Tree& tree, const image::Digest& digest, const std::string& name,
                       const fs::path& directory) {
  const fs::path version = directory / "oci-layout", index = directory / "index.json";
  if (const auto contents = os::read_if_exists(version)) image::check_layout_version(*contents, version.string());
  const auto manifest = copy_into_layout(tree, digest, directory / "blobs/sha256");
  if (!fs::exists(version)) os::write_file(version, image::layout_version_file);
  const os::Lock lock(version);  // two concurrent exports would lose each other's image
  os::write_file(
      index, image::with_image(os::read_if_exists(index), {manifest.type, digest, manifest.bytes.size(), {}, {}}, name,
                               index.string()));
}

void export_docker_archive(const tree::Tree& tree, const image::Digest& digest, std::string_view architecture,
                           const std::string& name, const fs::path& file) {
  const image::ParsedManifest image = image_of(tree, digest, architecture);
  if (!image.config) throw Error(Failure::corrupt, fmt::format("{} is not an image's manifest", digest.str()));
  const image::Digest config = image.config->digest;
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartArray();
  writer.StartObject();
  json::member(writer, "Config", config.hex() + ".json");
  json::key(writer, "RepoTags");
  writer.StartArray();
  json::string(writer, name);
  writer.EndArray();
  json::key(writer, "Layers");
  writer.StartArray();
  for (const image::ParsedDescriptor& layer : image.layers) json::string(writer, layer.digest.hex() + ".tar.gz");
  writer.EndArray();
  writer.EndObject();
  writer.EndArray();
  const std::string index = buffer.GetString();

  os::PendingFile archive(fs::absolute(file).parent_path());
  append_blob(archive, config.hex() + ".json", tree, config);
  for (const image::ParsedDescriptor& layer : image.layers)
    append_blob(archive, layer.digest.hex() + ".tar.gz", tree, layer.digest);
  append_header(archive, "manifest.json", index.size());
  archive.write(index);
  archive.write(layer::tar_padding(index.size()));
  archive.write(std::string(2 * layer::tar_block, '\0'));
  archive.publish(fs::absolute(file));
}

}  // namespace nixery::pipeline
