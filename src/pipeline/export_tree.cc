#include "pipeline/export_tree.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <set>
#include <string>

#include "error.h"
#include "image/parse.h"
#include "os/file.h"
#include "tree/directory_store.h"
#include "tree/listing.h"
#include "tree/referrers.h"

namespace nixery::pipeline {

namespace {

namespace fs = std::filesystem;

struct Tag {
  std::string repository, tag;
  image::Digest manifest;
};

// The files to export, all of which exist.
struct Selection {
  std::vector<Tag> tags;
  std::vector<tree::StoredManifest> manifests;  // each after those that it refers to
  std::set<image::Digest> blobs;
  std::map<image::Digest, std::vector<image::Descriptor>> referrers;  // by subject
};

[[noreturn]] void throw_incomplete(Failure failure, std::string_view name, const std::string& what) {
  throw Error(failure, fmt::format("{} is not in the tree: run `nixery build {}` first", what, name));
}

// Follows all references of one image.
class Collector {
 public:
  Collector(const tree::Tree& tree, Selection& selection) : tree_(tree), selection_(selection) {}

  image::Digest take_image(const reference::Reference& reference) {
    name_ = fmt::format("{}:{}", reference.repository, reference.tag);
    const auto digest = tree_.digest_of_tag(reference.repository, reference.tag);
    if (!digest) throw_incomplete(Failure::unknown_manifest, name_, name_);
    take_tag({reference.repository, reference.tag, *digest});
    take_fallback_tags(reference.repository);
    return *digest;
  }

 private:
  void take_tag(const Tag& tag) {
    take_manifest(tag.manifest);
    selection_.tags.push_back(tag);
  }

  // "sha256-<hex>", also with ".sig" and the like: how clients without the referrers API find what refers to an image.
  void take_fallback_tags(const std::string& repository) {
    for (const std::string& tag : tree::tags(tree_.store(), repository)) {
      const auto subject = tree::subject_of_digest_tag(tag);
      if (!subject || !taken_.contains(*subject)) continue;
      if (const auto digest = tree_.digest_of_tag(repository, tag)) take_tag({repository, tag, *digest});
    }
  }

  void take_manifest(const image::Digest& digest) {
    if (!taken_.insert(digest).second) return;
    auto manifest = tree_.manifest(digest);
    if (!manifest)
      throw_incomplete(Failure::unknown_manifest, name_, fmt::format("the manifest {} of {}", digest.str(), name_));
    const image::ParsedManifest links = image::parse_manifest(manifest->bytes, digest);
    for (const image::ParsedDescriptor& member : links.members) take_manifest(member.digest);
    if (links.config) take_blob(links.config->digest);
    for (const image::ParsedDescriptor& layer : links.layers) take_blob(layer.digest);
    selection_.manifests.push_back(*std::move(manifest));
    take_referrers(digest);
  }

  void take_referrers(const image::Digest& subject) {
    auto referrers = tree::referrers_of(tree_.store(), subject);
    // Evicted referrers are left out of the list, which must not refer to missing files.
    std::erase_if(referrers, [&](const image::Descriptor& referrer) { return !tree_.manifest(referrer.digest); });
    if (referrers.empty()) return;
    for (const image::Descriptor& referrer : referrers) take_manifest(referrer.digest);
    selection_.referrers.emplace(subject, std::move(referrers));
  }

  void take_blob(const image::Digest& digest) {
    if (!tree_.has_blob(digest))
      throw_incomplete(Failure::unknown_blob, name_, fmt::format("the blob {} of {}", digest.str(), name_));
    selection_.blobs.insert(digest);
  }

  const tree::Tree& tree_;
  Selection& selection_;
  std::set<image::Digest> taken_;  // manifests
  std::string name_;               // of the current image, for messages
};

// Makes the target's blob the same as the tree's, whose size is `size`. False if it was so already.
bool bring(const tree::BlobStore& from, const tree::DirectoryStore& target, const tree::ObjectName& blob,
           std::uint64_t size) {
  const auto there = target.status(blob);
  if (there && there->size == size) return false;
  const os::Fd file = from.open(blob);
  if (!file) throw Error(Failure::storage, fmt::format("the {} was removed while it was exported", blob.str()));
  if (!there && target.link(blob, file)) return true;
  os::PendingFile copy = target.scratch(tree::Kind::blob);
  copy.append(file, blob.str());
  target.put(blob, std::move(copy));
  return true;
}

// An existing list is replaced by the tree's present one.
void publish_referrers(const tree::BlobStore& target, const image::Digest& subject,
                       std::vector<image::Descriptor> referrers) {
  const auto name = tree::ObjectName::referrers_index(subject);
  const std::string index = tree::referrers_index(std::move(referrers));
  if (target.read(name) != index) target.put(name, index);
}

}  // namespace

ExportedTree export_tree(const tree::Tree& tree, std::span<const reference::Reference> references,
                         const fs::path& directory) {
  ExportedTree exported;
  Selection selection;
  Collector collector(tree, selection);
  for (const reference::Reference& reference : references) exported.images.push_back(collector.take_image(reference));

  os::make_directories(directory);
  const auto store = std::make_shared<const tree::DirectoryStore>(directory, fs::path());
  const tree::Tree target(store);
  for (const image::Digest& digest : selection.blobs) {
    const auto blob = tree::ObjectName::blob(digest);
    const auto status = tree.store().status(blob);
    if (!status) throw Error(Failure::storage, fmt::format("the {} was removed while it was exported", blob.str()));
    if (bring(tree.store(), *store, blob, status->size)) exported.added_bytes += status->size;
    exported.bytes += status->size;
  }
  for (const tree::StoredManifest& manifest : selection.manifests)
    target.publish_manifest(manifest.bytes, manifest.type);
  for (const auto& [subject, referrers] : selection.referrers) publish_referrers(*store, subject, referrers);
  store->sync();  // links are not synced one by one, and no tag may survive without its target
  for (const Tag& tag : selection.tags) target.publish_tag(tag.repository, tag.tag, tag.manifest);
  store->remove_scratch_directory();

  exported.tags = selection.tags.size();
  exported.manifests = selection.manifests.size();
  exported.blobs = selection.blobs.size();
  return exported;
}

}  // namespace nixery::pipeline
