#include "tree/referrers.h"

#include <algorithm>
#include <tuple>

#include "error.h"
#include "image/parse.h"
#include "reference/reference.h"

namespace nixery::tree {

namespace {

constexpr std::string_view digest_tag_prefix = "sha256-";

std::string lock_of(const image::Digest& subject) {
  return image::KeyBuilder("referrers").add(subject.hex()).finish();
}

// As the referrer's manifest says it, which proves itself by its digest; if that is not there, as the object says it.
std::optional<image::Descriptor> read_descriptor(const BlobStore& store, const ObjectName& name) {
  try {
    if (const auto digest = name.referrer_digest())
      if (const auto stored = read_manifest(store, *digest)) return image::referrer_descriptor(stored->bytes, *digest);
  } catch (const Error&) {
    return std::nullopt;
  }

  const auto text = read_if_readable(store, name);
  if (!text) return std::nullopt;
  try {
    const auto parsed = image::parse_descriptor(*text, name.str());
    const auto type = image::manifest_type_named(parsed.media_type);
    if (!type) return std::nullopt;
    return image::Descriptor{*type, parsed.digest, parsed.size, parsed.annotations, {}, parsed.artifact_type};
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Leaves an object that has these bytes already as it is, so that publishing again touches nothing.
void replace(const BlobStore& store, const ObjectName& name, std::string_view bytes) {
  if (read_if_readable(store, name) != bytes) store.put(name, bytes);
}

}  // namespace

std::vector<image::Descriptor> referrers_of(const BlobStore& store, const image::Digest& subject) {
  std::vector<image::Descriptor> referrers;
  store.list(Kind::referrer, digest_prefix(subject), [&](const ObjectName& name, const ObjectInfo&) {
    auto referrer = read_descriptor(store, name);
    if (referrer && referrer->digest == name.referrer_digest()) referrers.push_back(*std::move(referrer));
    return true;
  });
  std::sort(referrers.begin(), referrers.end(), [](const image::Descriptor& a, const image::Descriptor& b) {
    return std::tie(a.artifact_type, a.digest) < std::tie(b.artifact_type, b.digest);
  });
  return referrers;
}

std::string referrers_index(std::vector<image::Descriptor> referrers) {
  return image::to_json(image::Index{image::Format::oci, std::move(referrers), {}});
}

void publish_referrers(const Tree& tree, const image::Digest& subject, std::span<const image::Descriptor> referrers) {
  update_referrers(tree, subject, [&] { return std::vector(referrers.begin(), referrers.end()); });
}

void update_referrers(const Tree& tree, const image::Digest& subject,
                      const std::function<std::vector<image::Descriptor>()>& make) {
  const BlobStore& store = tree.store();
  const auto lock = store.lock(lock_of(subject));
  for (const image::Descriptor& referrer : make())
    replace(store, ObjectName::referrer(subject, referrer.digest), image::to_json(referrer));
  replace(store, ObjectName::referrers_index(subject), referrers_index(referrers_of(store, subject)));
}

void retire_referrers(const BlobStore& store, const image::Digest& subject) {
  std::vector<ObjectName> names{ObjectName::referrers_index(subject)};
  store.list(Kind::referrer, digest_prefix(subject), [&](const ObjectName& name, const ObjectInfo&) {
    names.push_back(name);
    return true;
  });
  for (const ObjectName& name : names) store.retire(name);
}

std::optional<image::Digest> subject_of_digest_tag(std::string_view tag) {
  if (!reference::is_digest_tag(tag)) return std::nullopt;
  return image::Digest::parse_hex(tag.substr(digest_tag_prefix.size(), 64));
}

std::optional<image::Digest> subject_of_fallback_tag(std::string_view tag) {
  if (!tag.starts_with(digest_tag_prefix)) return std::nullopt;
  return image::Digest::parse_hex(tag.substr(digest_tag_prefix.size()));
}

}  // namespace nixery::tree
