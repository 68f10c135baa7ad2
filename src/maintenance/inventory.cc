#include "maintenance/inventory.h"

#include <algorithm>
#include <tuple>

#include "error.h"
#include "image/parse.h"
#include "tree/referrers.h"
#include "tree/tree.h"

namespace nixery::maintenance {

namespace {

template <typename Thing>
std::optional<Number> find(const std::vector<Thing>& things, const image::Digest& digest) {
  const auto at =
      std::lower_bound(things.begin(), things.end(), digest,
                       [](const Thing& thing, const image::Digest& wanted) { return thing.digest < wanted; });
  if (at == things.end() || at->digest != digest) return std::nullopt;
  return static_cast<Number>(at - things.begin());
}

template <typename Thing>
void sort_once(std::vector<Thing>& things) {
  std::sort(things.begin(), things.end(), [](const Thing& a, const Thing& b) { return a.digest < b.digest; });
  things.erase(
      std::unique(things.begin(), things.end(), [](const Thing& a, const Thing& b) { return a.digest == b.digest; }),
      things.end());
}

void list_blobs(const tree::BlobStore& store, std::vector<Blob>& blobs) {
  store.list(tree::Kind::blob, "", [&](const tree::ObjectName& name, const tree::ObjectInfo& info) {
    if (const auto digest = name.digest()) blobs.push_back({*digest, info.size, info.modified});
    return true;
  });
  sort_once(blobs);
}

void list_manifests(const tree::BlobStore& store, std::vector<Manifest>& manifests) {
  store.list(tree::Kind::manifest, "", [&](const tree::ObjectName& name, const tree::ObjectInfo& info) {
    const auto digest = name.digest();
    const auto type = name.media_type();
    if (digest && type) manifests.push_back({*digest, *type, info.size, info.modified, false, {}, {}, {}, false, {}});
    return true;
  });
  sort_once(manifests);
}

void read_links(const tree::BlobStore& store, const Inventory& inventory, Unreadable unreadable, Manifest& manifest) {
  const auto name = tree::ObjectName::manifest(manifest.digest, manifest.type);
  const auto bytes = unreadable == Unreadable::skip ? tree::read_if_readable(store, name) : store.read(name);
  if (!bytes) return;  // it has gone
  try {
    const image::ParsedManifest links = image::parse_manifest(*bytes, manifest.digest);
    const auto add_blob = [&](const image::ParsedDescriptor& link) {
      if (const auto blob = inventory.blob(link.digest))
        manifest.blobs.push_back(*blob);
      else
        manifest.missing.push_back(link.digest);
    };
    if (links.config) add_blob(*links.config);
    for (const image::ParsedDescriptor& layer : links.layers) add_blob(layer);
    for (const image::ParsedDescriptor& member : links.members)
      if (const auto number = inventory.manifest(member.digest)) manifest.members.push_back(*number);
    for (std::vector<Number>* numbers : {&manifest.blobs, &manifest.members}) {
      std::sort(numbers->begin(), numbers->end());  // an image may name a layer twice
      numbers->erase(std::unique(numbers->begin(), numbers->end()), numbers->end());
    }
    manifest.is_attached = links.subject.has_value();
    if (links.subject)
      if (const auto subject = inventory.manifest(links.subject->digest)) manifest.subjects.push_back(*subject);
  } catch (const Error& error) {
    if (error.failure() != Failure::corrupt) throw;
  }
}

// Only the tag of a signature tag names its subject: "sha256-<hex>.sig".
void attach_by_tags(Inventory& inventory) {
  for (const Tag& tag : inventory.tags) {
    const auto digest = tree::subject_of_digest_tag(tag.tag);
    if (!tag.manifest || !digest) continue;
    Manifest& manifest = inventory.manifests[*tag.manifest];
    manifest.is_attached = true;
    const auto subject = inventory.manifest(*digest);
    if (subject && *subject != *tag.manifest) manifest.subjects.push_back(*subject);
  }
}

}  // namespace

std::optional<Number> Inventory::blob(const image::Digest& digest) const {
  return find(blobs, digest);
}

std::optional<Number> Inventory::manifest(const image::Digest& digest) const {
  return find(manifests, digest);
}

Inventory list_files(const tree::BlobStore& store) {
  Inventory inventory;
  list_blobs(store, inventory.blobs);
  list_manifests(store, inventory.manifests);
  return inventory;
}

void list_manifests(const tree::BlobStore& store, Inventory& inventory) {
  inventory.manifests.clear();
  list_manifests(store, inventory.manifests);
}

void list_tags(const tree::BlobStore& store, Inventory& inventory) {
  store.list(tree::Kind::tag, "", [&](const tree::ObjectName& name, const tree::ObjectInfo& info) {
    const auto digest = tree::read_tag(store, name);
    inventory.tags.push_back({std::string(name.repository()), std::string(name.tag()), info.modified,
                              digest ? inventory.manifest(*digest) : std::nullopt});
    return true;
  });
  const auto name_of = [](const Tag& tag) { return std::tie(tag.repository, tag.tag); };
  std::sort(inventory.tags.begin(), inventory.tags.end(),
            [&](const Tag& a, const Tag& b) { return name_of(a) < name_of(b); });
  inventory.tags.erase(std::unique(inventory.tags.begin(), inventory.tags.end(),
                                   [&](const Tag& a, const Tag& b) { return name_of(a) == name_of(b); }),
                       inventory.tags.end());
}

void read_links(const tree::BlobStore& store, Inventory& inventory, Unreadable unreadable) {
  for (Manifest& manifest : inventory.manifests) read_links(store, inventory, unreadable, manifest);
  list_tags(store, inventory);
  attach_by_tags(inventory);
}

}  // namespace nixery::maintenance
