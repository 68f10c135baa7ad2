#include "tree/tree.h"

#include <algorithm>

#include "error.h"
#include "image/parse.h"
#include "tree/originals.h"

namespace nixery::tree {

namespace {

// Whether the bytes are of this type. True for anything but a manifest: its readers check it.
bool says_type(std::string_view bytes, const image::Digest& digest, image::MediaType type) {
  try {
    return image::parse_manifest(bytes, digest).type == type;
  } catch (const Error&) {
    return true;
  }
}

}  // namespace

bool has_manifest(const BlobStore& store, const image::Digest& digest) {
  return std::any_of(image::manifest_types.begin(), image::manifest_types.end(),
                     [&](image::MediaType type) { return store.has(ObjectName::manifest(digest, type)); });
}

std::optional<StoredManifest> read_manifest(const BlobStore& store, const image::Digest& digest) {
  for (const image::MediaType type : image::manifest_types)
    if (auto bytes = read_if_readable(store, ObjectName::manifest(digest, type));
        bytes && image::Digest::of(*bytes) == digest && says_type(*bytes, digest, type))
      return StoredManifest{digest, type, *std::move(bytes)};
  return std::nullopt;
}

std::optional<image::MediaType> type_of_manifest(std::string_view bytes, const image::Digest& digest) {
  if (image::Digest::of(bytes) != digest) return std::nullopt;
  try {
    return image::parse_manifest(bytes, digest).type;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<image::Digest> read_tag(const BlobStore& store, const ObjectName& tag) {
  const auto bytes = store.read(tag);
  return bytes ? image::Digest::parse(*bytes) : std::nullopt;
}

bool Tree::has_blob(const image::Digest& digest) const {
  return store_->has(ObjectName::blob(digest));
}

image::Digest Tree::publish_blob(std::string_view bytes) const {
  const auto digest = image::Digest::of(bytes);
  keep_original(*store_, digest, bytes);
  put_small_blob(digest, bytes);
  return digest;
}

// The bytes are small, and at hand: a damaged blob is replaced.
void Tree::put_small_blob(const image::Digest& digest, std::string_view bytes) const {
  const auto name = ObjectName::blob(digest);
  if (!store_->has(name) || read_if_readable(*store_, name) != bytes || !store_->touch(name)) store_->put(name, bytes);
}

bool Tree::can_restore_blob(const image::Digest& digest) const {
  return read_original(*store_, digest).has_value();
}

bool Tree::restore_blob(const image::Digest& digest) const {
  const auto bytes = read_original(*store_, digest);
  if (bytes) put_small_blob(digest, *bytes);
  return bytes.has_value();
}

image::Digest Tree::publish_manifest(std::string_view bytes, image::MediaType type) const {
  const auto digest = image::Digest::of(bytes);
  if (!touch_manifest(digest)) store_->put(ObjectName::manifest(digest, type), bytes);
  for (const image::MediaType other : image::manifest_types)
    if (other != type) remove_if_possible(*store_, ObjectName::manifest(digest, other));  // which might be served
  return digest;
}

std::optional<StoredManifest> Tree::manifest(const image::Digest& digest) const {
  return read_manifest(*store_, digest);
}

bool Tree::touch_manifest(const image::Digest& digest) const {
  const auto stored = manifest(digest);
  return stored && store_->touch(ObjectName::manifest(digest, stored->type));
}

void Tree::drop_manifest(const image::Digest& digest) const {
  for (const image::MediaType type : image::manifest_types) store_->remove(ObjectName::manifest(digest, type));
}

void Tree::publish_tag(std::string_view repository, std::string_view tag, const image::Digest& manifest) const {
  store_->put(ObjectName::tag(repository, tag), manifest.str());
}

std::optional<image::Digest> Tree::digest_of_tag(std::string_view repository, std::string_view tag) const {
  return read_tag(*store_, ObjectName::tag(repository, tag));
}

void Tree::drop_tag(std::string_view repository, std::string_view tag) const {
  store_->remove(ObjectName::tag(repository, tag));
}

}  // namespace nixery::tree
