#include "pipeline/export_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "error.h"
#include "image/parse.h"
#include "os/file.h"
#include "tree/listing.h"
#include "tree/referrers.h"

namespace nixery::pipeline {

namespace {

namespace fs = std::filesystem;

struct Tag {
  std::string repository, tag;
  image::Digest manifest;
};

// What to bring over, all of it proven to be there.
struct Selection {
  std::vector<Tag> tags;
  std::vector<tree::StoredManifest> manifests;  // each after those that it names
  std::set<image::Digest> blobs;
  std::map<image::Digest, std::vector<image::Descriptor>> referrers;  // by subject
};

[[noreturn]] void throw_incomplete(Failure failure, std::string_view name, const std::string& what) {
  throw Error(failure, fmt::format("{} is not in the tree: run `nixery build {}` first", what, name));
}

// Follows everything that one image leads to.
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
    for (const std::string& tag : tree::tags(tree_.layout(), repository)) {
      if (!reference::is_digest_tag(tag)) continue;
      const auto subject = image::Digest::parse_hex(std::string_view(tag).substr(7, 64));
      const auto digest = tree_.digest_of_tag(repository, tag);
      if (subject && digest && taken_.contains(*subject)) take_tag({repository, tag, *digest});
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
    auto referrers = tree::referrers_of(tree_.layout(), subject);
    // What was evicted is left out of the list: nothing may lead to what is not there.
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
  std::string name_;               // of the image that is being taken, for messages
};

std::optional<std::uint64_t> size_of(const fs::path& file) {
  struct stat status;
  if (lstat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return static_cast<std::uint64_t>(status.st_size);
}

// Makes `file` the same as `from`, whose size is `size`. False if it was so already.
bool bring(const fs::path& from, std::uint64_t size, const fs::path& file, const fs::path& incoming) {
  const auto there = size_of(file);
  if (there == size) return false;
  if (!there) {
    os::make_directories(file.parent_path());
    if (link(from.c_str(), file.c_str()) == 0) return true;
  }
  os::PendingFile copy(incoming);
  copy.append(from);
  copy.publish(file);
  return true;
}

// A list that is there already is replaced by what the tree has now.
void publish_referrers(const tree::Layout& layout, const image::Digest& subject,
                       std::vector<image::Descriptor> referrers) {
  const std::string index = tree::referrers_index(std::move(referrers));
  const fs::path file = tree::referrers_index_file(layout, subject);
  if (os::read_if_exists(file) == index) return;
  os::PendingFile pending(layout.incoming());
  pending.write(index);
  pending.publish(file);
}

void sync_file_system(const fs::path& directory) {
  const os::Fd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || syncfs(fd.get()) != 0) os::throw_errno("sync", directory);
}

}  // namespace

ExportedTree export_tree(const tree::Tree& tree, std::span<const reference::Reference> references,
                         const fs::path& directory) {
  ExportedTree exported;
  Selection selection;
  Collector collector(tree, selection);
  for (const reference::Reference& reference : references) exported.images.push_back(collector.take_image(reference));

  const tree::Tree target(tree::Layout{directory, {}});
  const tree::Layout& layout = target.layout();
  os::make_directories(layout.tree);
  for (const image::Digest& blob : selection.blobs) {
    const auto size = size_of(tree.layout().blob(blob));
    if (!size) os::throw_errno("read", tree.layout().blob(blob));
    if (bring(tree.layout().blob(blob), *size, layout.blob(blob), layout.incoming())) exported.added_bytes += *size;
    exported.bytes += *size;
  }
  for (const tree::StoredManifest& manifest : selection.manifests)
    target.publish_manifest(manifest.bytes, manifest.type);
  for (const auto& [subject, referrers] : selection.referrers) publish_referrers(layout, subject, referrers);
  sync_file_system(layout.tree);  // links are not synced one by one, and no tag may outlive what it leads to
  for (const Tag& tag : selection.tags) target.publish_tag(tag.repository, tag.tag, tag.manifest);

  std::error_code in_use;
  fs::remove(layout.incoming(), in_use);
  exported.tags = selection.tags.size();
  exported.manifests = selection.manifests.size();
  exported.blobs = selection.blobs.size();
  return exported;
}

}  // namespace nixery::pipeline
