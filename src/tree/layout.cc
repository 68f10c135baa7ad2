#include "tree/layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "os/path.h"

namespace nixery::tree {

fs::path Layout::blob(const image::Digest& digest) const {
  return tree / "blobs/sha256" / digest.hex().substr(0, 2) / digest.hex();
}

fs::path Layout::manifest_dir(const image::Digest& digest) const {
  return tree / "manifests/sha256" / digest.hex();
}

fs::path Layout::manifest(const image::Digest& digest, image::MediaType type) const {
  return manifest_dir(digest) / fmt::format("manifest.{}", image::extension_of(type));
}

fs::path Layout::tag(std::string_view repository, std::string_view tag) const {
  return os::join_below(tree / "tags", fmt::format("{}/_tags/{}", repository, tag));
}

fs::path Layout::tag_target(std::string_view repository, const image::Digest& manifest) {
  fs::path up = "../..";  // out of _tags and of tags
  for (auto depth = std::count(repository.begin(), repository.end(), '/') + 1; depth > 0; --depth) up /= "..";
  return up / "manifests/sha256" / manifest.hex();
}

std::optional<image::Digest> Layout::digest_of_tag_target(const fs::path& target) {
  if (target.parent_path().filename() != "sha256") return std::nullopt;
  return image::Digest::parse_hex(target.filename().string());
}

fs::path Layout::lock(std::string_view name) const {
  return os::join_below(state / "locks", fmt::format("{}.lock", name));
}

std::vector<fs::path> Layout::lock_files() const {
  std::vector<fs::path> files;
  for (const char* name : {"gate", "tree", "keys", "upkeep", "uses"}) files.push_back(lock(name));
  return files;
}

os::LockName Layout::key_lock(std::string_view key) const {
  const std::string hash = image::KeyBuilder("lock").add(key).finish();
  return {lock("keys"), std::stoull(hash.substr(0, 16), nullptr, 16) >> 2};
}

fs::path Layout::log(std::string_view key) const {
  return os::join_below(state / "logs", fmt::format("{}.log", key));
}
fs::path Layout::failure(std::string_view key) const {
  return os::join_below(state / "failures", fmt::format("{}.json", key));
}

fs::path Layout::recipe(const image::Digest& layer) const {
  return state / "recipes" / fmt::format("{}.json", layer.hex());
}

fs::path Layout::group(std::string_view layer_key) const {
  return os::join_below(state / "groups", layer_key);
}

fs::path Layout::segment(std::string_view segment_key) const {
  return os::join_below(state / "segments", fmt::format("{}/{}", segment_key.substr(0, 2), segment_key));
}

fs::path Layout::image(std::string_view image_key) const {
  return os::join_below(state / "images", image_key);
}

fs::path Layout::original(const image::Digest& blob) const {
  return state / "originals" / blob.hex().substr(0, 2) / blob.hex();
}

fs::path Layout::record(std::string_view repository, std::string_view tag) const {
  return os::join_below(records(), fmt::format("{}/_tags/{}.json", repository, tag));
}

fs::path Layout::gc_roots(std::string_view key) const {
  return os::join_below(state / "gcroots", key);
}

}  // namespace nixery::tree
