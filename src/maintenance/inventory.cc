#include "maintenance/inventory.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "error.h"
#include "image/parse.h"
#include "os/directory.h"
#include "reference/reference.h"
#include "tree/tree.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

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

void list_blobs(const tree::Layout& layout, std::vector<Blob>& blobs) {
  os::for_each_entry(layout.tree / "blobs/sha256", [&](const auto& shard) {
    os::for_each_entry(shard.path(), [&](const auto& entry) {
      const fs::path& file = entry.path();
      const auto digest = image::Digest::parse_hex(file.filename().string());
      if (!digest || layout.blob(*digest) != file) return;
      if (const auto status = os::status_of(file); status && status->kind == os::Status::Kind::file)
        blobs.push_back({*digest, status->size, status->modified});
    });
  });
  sort_once(blobs);
}

void list_manifests(const tree::Layout& layout, std::vector<Manifest>& manifests) {
  os::for_each_entry(layout.tree / "manifests/sha256", [&](const auto& dir) {
    const auto digest = image::Digest::parse_hex(dir.path().filename().string());
    if (!digest) return;
    for (const image::MediaType type : image::manifest_types)
      if (const auto status = os::status_of(layout.manifest(*digest, type));
          status && status->kind == os::Status::Kind::file)
        manifests.push_back({*digest, type, status->size, status->modified, false, {}, {}, {}, false, {}});
  });
  sort_once(manifests);
}

void read_links(const tree::Layout& layout, const Inventory& inventory, Unreadable unreadable, Manifest& manifest) {
  const fs::path file = layout.manifest(manifest.digest, manifest.type);
  const auto bytes = unreadable == Unreadable::skip ? os::read_if_readable(file) : os::read_if_exists(file);
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

// A signature in the form of a tag names its subject there alone: "sha256-<hex>.sig".
void attach_by_tags(Inventory& inventory) {
  for (const Tag& tag : inventory.tags) {
    const auto digest = subject_of(tag.tag);
    if (!tag.manifest || !digest) continue;
    Manifest& manifest = inventory.manifests[*tag.manifest];
    manifest.is_attached = true;
    const auto subject = inventory.manifest(*digest);
    if (subject && *subject != *tag.manifest) manifest.subjects.push_back(*subject);
  }
}

void list_tags(const tree::Layout& layout, const fs::path& dir, const std::string& repository, Inventory& inventory) {
  os::for_each_entry(dir, [&](const auto& entry) {
    const auto status = os::status_of(entry.path());
    const std::string name = entry.path().filename().string();
    if (dir.filename() == "_tags") {
      if (!status || status->kind != os::Status::Kind::link || name.starts_with('.')) return;
      const auto digest = tree::Tree(layout).digest_of_tag(repository, name);
      inventory.tags.push_back(
          {repository, name, status->modified, digest ? inventory.manifest(*digest) : std::nullopt});
    } else if (status && status->kind == os::Status::Kind::directory) {
      const bool deeper = name != "_tags";
      list_tags(layout, entry.path(),
                !deeper              ? repository
                : repository.empty() ? name
                                     : repository + '/' + name,
                inventory);
    }
  });
}

}  // namespace

std::optional<Number> Inventory::blob(const image::Digest& digest) const {
  return find(blobs, digest);
}

std::optional<Number> Inventory::manifest(const image::Digest& digest) const {
  return find(manifests, digest);
}

std::optional<image::Digest> subject_of(std::string_view tag) {
  if (!reference::is_digest_tag(tag)) return std::nullopt;
  return image::Digest::parse_hex(tag.substr(std::string_view("sha256-").size(), 64));
}

Inventory list_files(const tree::Layout& layout) {
  Inventory inventory;
  list_blobs(layout, inventory.blobs);
  list_manifests(layout, inventory.manifests);
  return inventory;
}

void list_manifests(const tree::Layout& layout, Inventory& inventory) {
  inventory.manifests.clear();
  list_manifests(layout, inventory.manifests);
}

void list_tags(const tree::Layout& layout, Inventory& inventory) {
  list_tags(layout, layout.tree / "tags", "", inventory);
  std::sort(inventory.tags.begin(), inventory.tags.end(),
            [](const Tag& a, const Tag& b) { return std::tie(a.repository, a.tag) < std::tie(b.repository, b.tag); });
}

void read_links(const tree::Layout& layout, Inventory& inventory, Unreadable unreadable) {
  for (Manifest& manifest : inventory.manifests) read_links(layout, inventory, unreadable, manifest);
  list_tags(layout, inventory);
  attach_by_tags(inventory);
}

}  // namespace nixery::maintenance
