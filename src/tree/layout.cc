#include "tree/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "error.h"
#include "os/path.h"

namespace nixery::tree {

namespace {

constexpr std::array<std::string_view, 4> file_locks = {"gate", "tree", "upkeep", "uses"};

template <typename Part>
Part part_of(const ObjectName& name, std::optional<Part> part) {
  if (!part) throw Error(Failure::storage, fmt::format("'{}' is no name of an object", name.str()));
  return *std::move(part);
}

}  // namespace

fs::path Layout::directory(Kind kind) const {
  switch (kind) {
    case Kind::blob: return blobs();
    case Kind::manifest: return tree / "manifests/sha256";
    case Kind::tag: return tree / "tags";
    case Kind::referrer:
    case Kind::referrers_index: return tree / "referrers/sha256";
    case Kind::record: return records();
    case Kind::recipe: return state / "recipes";
    case Kind::group: return state / "groups";
    case Kind::segment: return state / "segments";
    case Kind::image: return state / "images";
    case Kind::original: return state / "originals";
    case Kind::failure: return state / "failures";
    case Kind::maintenance: break;
  }
  return state;
}

fs::path Layout::path(const ObjectName& name) const {
  const auto digest = [&] { return part_of(name, name.digest()); };
  switch (name.kind()) {
    case Kind::blob: return blob(digest());
    case Kind::manifest: return manifest(digest(), part_of(name, name.media_type()));
    case Kind::tag: return os::join_below(directory(Kind::tag), name.key());
    case Kind::referrer: return referrer(digest(), part_of(name, name.referrer_digest()));
    case Kind::referrers_index: return referrers_index(digest());
    case Kind::record: return os::join_below(records(), name.key() + ".json");
    case Kind::recipe: return recipe(digest());
    case Kind::group: return group(name.key());
    case Kind::segment: return segment(name.key());
    case Kind::image: return image(name.key());
    case Kind::original: return original(digest());
    case Kind::failure: return failure(name.key());
    case Kind::maintenance: break;
  }
  return os::join_below(state, name.key());
}

fs::path Layout::referrers_dir(const image::Digest& subject) const {
  return directory(Kind::referrer) / subject.hex();
}

fs::path Layout::referrer(const image::Digest& subject, const image::Digest& referrer) const {
  return referrers_dir(subject) / fmt::format("{}.json", referrer.hex());
}

fs::path Layout::referrers_index(const image::Digest& subject) const {
  return referrers_dir(subject) / fmt::format("index.{}", image::extension_of(image::MediaType::oci_index));
}

fs::path Layout::blob(const image::Digest& digest) const {
  return blobs() / digest.hex().substr(0, 2) / digest.hex();
}

fs::path Layout::manifest_dir(const image::Digest& digest) const {
  return directory(Kind::manifest) / digest.hex();
}

fs::path Layout::manifest(const image::Digest& digest, image::MediaType type) const {
  return manifest_dir(digest) / fmt::format("manifest.{}", image::extension_of(type));
}

fs::path Layout::tag(std::string_view repository, std::string_view tag) const {
  return os::join_below(tree / "tags", fmt::format("{}/_tags/{}", repository, tag));
}

fs::path Layout::tag_target(std::string_view repository, const image::Digest& manifest) {
  fs::path up = "../..";  // up from _tags and tags
  for (auto depth = std::count(repository.begin(), repository.end(), '/') + 1; depth > 0; --depth) up /= "..";
  return up / "manifests/sha256" / manifest.hex();
}

std::optional<image::Digest> Layout::digest_of_tag_target(const fs::path& target) {
  const fs::path directory = target.parent_path();
  if (directory.filename() != "sha256" || directory.parent_path().filename() != "manifests") return std::nullopt;
  return image::Digest::parse_hex(target.filename().string());
}

fs::path Layout::lock(std::string_view name) const {
  return os::join_below(state / "locks", fmt::format("{}.lock", name));
}

std::vector<fs::path> Layout::lock_files() const {
  std::vector<fs::path> files;
  for (const std::string_view name : file_locks) files.push_back(lock(name));
  files.push_back(lock("keys"));
  return files;
}

os::LockName Layout::key_lock(std::string_view key) const {
  const std::string hash = image::KeyBuilder("lock").add(key).finish();
  return {lock("keys"), std::stoull(hash.substr(0, 16), nullptr, 16) >> 2};
}

os::LockName Layout::lock_named(std::string_view name) const {
  const bool has_file = std::find(file_locks.begin(), file_locks.end(), name) != file_locks.end();
  return has_file ? os::LockName(lock(name)) : key_lock(name);
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

}  // namespace nixery::tree
