#include "tree/object_name.h"

#include <fmt/format.h>

namespace nixery::tree {

namespace {

constexpr std::string_view tags_directory = "/_tags/";  // no component of a repository begins with _

}  // namespace

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::blob: return "blob";
    case Kind::manifest: return "manifest";
    case Kind::tag: return "tag";
    case Kind::referrer: return "referrer";
    case Kind::referrers_index: return "referrers index";
    case Kind::record: return "record";
    case Kind::recipe: return "recipe";
    case Kind::group: return "group";
    case Kind::segment: return "segment";
    case Kind::image: return "image";
    case Kind::original: return "original";
    case Kind::failure: return "failure";
    case Kind::maintenance: break;
  }
  return "maintenance";
}

bool is_durable(Kind kind) {
  switch (kind) {
    case Kind::recipe:
    case Kind::group:
    case Kind::segment:
    case Kind::image:
    case Kind::original:
    case Kind::failure: return false;
    default: return true;
  }
}

ObjectName ObjectName::manifest(const image::Digest& digest, image::MediaType type) {
  return {Kind::manifest, fmt::format("{}/{}", digest.hex(), image::extension_of(type))};
}

ObjectName ObjectName::tag(std::string_view repository, std::string_view tag) {
  return {Kind::tag, fmt::format("{}{}", tags_prefix(repository), tag)};
}

ObjectName ObjectName::referrer(const image::Digest& subject, const image::Digest& referrer) {
  return {Kind::referrer, fmt::format("{}{}", digest_prefix(subject), referrer.hex())};
}

ObjectName ObjectName::record(std::string_view repository, std::string_view tag) {
  return {Kind::record, fmt::format("{}{}", tags_prefix(repository), tag)};
}

std::string ObjectName::str() const {
  return fmt::format("{} {}", name_of(kind_), key_);
}

std::optional<image::Digest> ObjectName::digest() const {
  return image::Digest::parse_hex(std::string_view(key_).substr(0, key_.find('/')));
}

std::optional<image::Digest> ObjectName::referrer_digest() const {
  const auto slash = key_.find('/');
  if (slash == key_.npos) return std::nullopt;
  return image::Digest::parse_hex(std::string_view(key_).substr(slash + 1));
}

std::optional<image::MediaType> ObjectName::media_type() const {
  for (const image::MediaType type : image::manifest_types)
    if (key_.ends_with(fmt::format("/{}", image::extension_of(type)))) return type;
  return std::nullopt;
}

std::string_view ObjectName::repository() const {
  const auto end = key_.rfind(tags_directory);
  return end == key_.npos ? std::string_view() : std::string_view(key_).substr(0, end);
}

std::string_view ObjectName::tag() const {
  const auto end = key_.rfind(tags_directory);
  return end == key_.npos ? std::string_view() : std::string_view(key_).substr(end + tags_directory.size());
}

std::string tags_prefix(std::string_view repository) {
  return fmt::format("{}{}", repository, tags_directory);
}

std::string digest_prefix(const image::Digest& subject) {
  return subject.hex() + "/";
}

}  // namespace nixery::tree
