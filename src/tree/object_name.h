// Names of published objects: a kind and a key, the same in every store.
//
//   kind             key
//   blob             <64 hex>                     a layer or a config, by its digest
//   manifest         <64 hex>/<extension>         a manifest or an index; the extension is its media type
//   tag              <repository>/_tags/<tag>     its bytes are the digest of a manifest: "sha256:<64 hex>"
//   referrer         <subject hex>/<64 hex>       the descriptor of one manifest that refers to a subject
//   referrers_index  <subject hex>                the image index of a subject's referrers
//   record           <repository>/_tags/<tag>     what a tag was built from
//   recipe           <64 hex>                     how the layer blob of that digest was made
//   group            <layer key>                  layer key -> digest of its blob
//   segment          <segment key>                segment key -> digest of a blob that holds it
//   image            <image key>                  image key -> digest of its manifest
//   original         <64 hex>                     copy of a small blob (originals.h)
//   failure          <build key>                  the last failure of a build
//   maintenance      uses, collected              what collections keep from one run to the next
//
// Keys of blobs and manifests are digests, so writing one twice is harmless. A name is a plain value; the store that
// takes it throws Error{storage} for a key that leads out of its kind.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "image/digest.h"
#include "image/media_type.h"

namespace nixery::tree {

enum class Kind {
  blob,
  manifest,
  tag,
  referrer,
  referrers_index,
  record,
  recipe,
  group,
  segment,
  image,
  original,
  failure,
  maintenance,
};

std::string_view name_of(Kind kind);

// Whether an object of this kind must survive a power cut once it is put. The others can be made again, and their
// readers recognise a torn one.
bool is_durable(Kind kind);

class ObjectName {
 public:
  ObjectName(Kind kind, std::string key) : kind_(kind), key_(std::move(key)) {}

  static ObjectName blob(const image::Digest& digest) { return {Kind::blob, digest.hex()}; }
  static ObjectName manifest(const image::Digest& digest, image::MediaType type);
  static ObjectName tag(std::string_view repository, std::string_view tag);
  static ObjectName referrer(const image::Digest& subject, const image::Digest& referrer);
  static ObjectName referrers_index(const image::Digest& subject) { return {Kind::referrers_index, subject.hex()}; }
  static ObjectName record(std::string_view repository, std::string_view tag);
  static ObjectName recipe(const image::Digest& blob) { return {Kind::recipe, blob.hex()}; }
  static ObjectName group(std::string_view layer_key) { return {Kind::group, std::string(layer_key)}; }
  static ObjectName segment(std::string_view segment_key) { return {Kind::segment, std::string(segment_key)}; }
  static ObjectName image(std::string_view image_key) { return {Kind::image, std::string(image_key)}; }
  static ObjectName original(const image::Digest& blob) { return {Kind::original, blob.hex()}; }
  static ObjectName failure(std::string_view build_key) { return {Kind::failure, std::string(build_key)}; }

  Kind kind() const { return kind_; }
  const std::string& key() const { return key_; }
  std::string str() const;  // "tag shell/git/_tags/latest", for messages

  // The digest with which the key begins: of the blob, the manifest, the subject. nullopt for other kinds of key.
  std::optional<image::Digest> digest() const;
  std::optional<image::Digest> referrer_digest() const;  // of a referrer
  std::optional<image::MediaType> media_type() const;    // of a manifest
  // Of a tag or a record; empty for other kinds of key.
  std::string_view repository() const;
  std::string_view tag() const;

  auto operator<=>(const ObjectName&) const = default;

 private:
  Kind kind_;
  std::string key_;
};

// Prefixes of keys for BlobStore::list().
std::string tags_prefix(std::string_view repository);     // of tags and records
std::string digest_prefix(const image::Digest& subject);  // of manifests and referrers

}  // namespace nixery::tree
