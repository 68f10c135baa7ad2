#include "maintenance/selection.h"

#include <fmt/format.h>

#include <algorithm>

#include "nix/source.h"

namespace nixery::maintenance {

namespace {

class Selector {
 public:
  Selector(const Inventory& inventory, const std::function<os::Time(const image::Digest&)>& last_use,
           const Policy& policy, os::Time now)
      : inventory_(inventory),
        policy_(policy),
        now_(now),
        last_use_(inventory.manifests.size()),
        holders_(inventory.manifests.size()),
        attached_(inventory.manifests.size()),
        image_(inventory.manifests.size()),
        kept_(inventory.manifests.size()),
        dropped_(inventory.manifests.size()),
        blob_holders_(inventory.blobs.size()) {
    for (Number i = 0; i < inventory.manifests.size(); ++i) {
      const Manifest& manifest = inventory.manifests[i];
      last_use_[i] = std::max(manifest.time, last_use(manifest.digest));
      for (const Number subject : manifest.subjects) attached_[subject].push_back(i);
    }
    count_holders();
    for (const Tag& tag : inventory.tags)
      if (tag.manifest && is_kept(tag)) kept_[*tag.manifest] = true;
    for (Number i = 0; i < inventory.manifests.size(); ++i)
      if (inventory.manifests[i].is_touched || is_kept(inventory.manifests[i].digest)) keep(i);
  }

  Selection select() {
    drop_loose_ends();
    drop_images();
    for (Number i = 0; i < inventory_.tags.size(); ++i)
      if (const Tag& tag = inventory_.tags[i]; tag.manifest ? dropped_[*tag.manifest] : is_old(tag.time))
        selection_.tags.push_back(i);
    std::sort(selection_.manifests.begin(), selection_.manifests.end());
    std::sort(selection_.blobs.begin(), selection_.blobs.end());
    return std::move(selection_);
  }

 private:
  bool is_old(os::Time time) const { return now_ - time >= policy_.grace; }

  bool is_kept(const Tag& tag) const {
    return std::any_of(policy_.keep.begin(), policy_.keep.end(), [&](const std::string& glob) {
      const bool with_tag = glob.find(':') != glob.npos;
      return nix::matches_glob(with_tag ? fmt::format("{}:{}", tag.repository, tag.tag) : tag.repository, glob);
    });
  }

  bool is_kept(const image::Digest& digest) const {
    return std::any_of(policy_.keep.begin(), policy_.keep.end(), [&](const std::string& glob) {
      return glob.starts_with("sha256:") && nix::matches_glob(digest.str(), glob);
    });
  }

  // An image even without the index or subject that holds it now.
  void keep(Number manifest) {
    kept_[manifest] = true;
    ++holders_[manifest];
  }

  void count_holders() {
    std::vector<bool> has_tag(inventory_.manifests.size()), is_member(inventory_.manifests.size());
    for (const Tag& tag : inventory_.tags)
      if (tag.manifest) has_tag[*tag.manifest] = true;
    for (Number i = 0; i < inventory_.manifests.size(); ++i) {
      const Manifest& manifest = inventory_.manifests[i];
      for (const Number blob : manifest.blobs) ++blob_holders_[blob];
      for (const Number member : manifest.members) ++holders_[member], is_member[member] = true;
      holders_[i] += static_cast<std::uint32_t>(manifest.subjects.size());
      selection_.left += manifest.size;
    }
    for (Number i = 0; i < inventory_.manifests.size(); ++i) {
      // A signature's tag does not make it an image.
      const bool held = is_member[i] || inventory_.manifests[i].is_attached;
      image_[i] = !held || (has_tag[i] && !inventory_.manifests[i].is_attached);
      if (image_[i]) ++holders_[i];
    }
    for (const Blob& blob : inventory_.blobs) selection_.left += blob.size;
  }

  // Unreferenced files: left by interrupted builds or collections.
  void drop_loose_ends() {
    for (Number i = 0; i < inventory_.blobs.size(); ++i)
      if (blob_holders_[i] == 0) drop_blob(i);
    for (Number i = 0; i < inventory_.manifests.size(); ++i)
      if (holders_[i] == 0 && is_old(last_use_[i])) drop(i);
  }

  // An index is used when a member is.
  os::Time use_of_image(Number image) const {
    os::Time latest = last_use_[image];
    for (const Number member : inventory_.manifests[image].members) latest = std::max(latest, use_of_image(member));
    return latest;
  }

  void drop_images() {
    std::vector<DroppedImage> candidates;
    for (Number i = 0; i < inventory_.manifests.size(); ++i)
      if (const os::Time used = use_of_image(i); image_[i] && !kept_[i] && is_old(used))
        candidates.push_back({i, used, DroppedImage::Reason::age});
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const DroppedImage& a, const DroppedImage& b) { return a.last_use < b.last_use; });
    for (DroppedImage& image : candidates) {
      const bool too_old = policy_.max_age && now_ - image.last_use >= *policy_.max_age;
      const bool too_much = policy_.max_size && selection_.left > *policy_.max_size;
      if (!too_old && !too_much) return;  // the rest was used more recently
      image.reason = too_old ? DroppedImage::Reason::age : DroppedImage::Reason::size;
      selection_.images.push_back(image);
      release(image.manifest);
    }
  }

  void release(Number manifest) {
    if (--holders_[manifest] == 0) drop(manifest);
  }

  void drop(Number number) {
    const Manifest& manifest = inventory_.manifests[number];
    dropped_[number] = true;
    selection_.manifests.push_back(number);
    selection_.freed += manifest.size;
    selection_.left -= manifest.size;
    for (const Number member : manifest.members) release(member);
    for (const Number attached : attached_[number]) release(attached);
    for (const Number blob : manifest.blobs)
      if (--blob_holders_[blob] == 0) drop_blob(blob);
  }

  void drop_blob(Number number) {
    const Blob& blob = inventory_.blobs[number];
    if (!is_old(blob.time)) return;
    selection_.blobs.push_back(number);
    selection_.freed += blob.size;
    selection_.left -= blob.size;
  }

  const Inventory& inventory_;
  const Policy& policy_;
  const os::Time now_;
  std::vector<os::Time> last_use_;             // of each manifest
  std::vector<std::uint32_t> holders_;         // of each manifest: itself as an image, indexes, its subject
  std::vector<std::vector<Number>> attached_;  // to each manifest
  std::vector<bool> image_, kept_, dropped_;
  std::vector<std::uint32_t> blob_holders_;
  Selection selection_;
};

}  // namespace

Selection select(const Inventory& inventory, const std::function<os::Time(const image::Digest&)>& last_use,
                 const Policy& policy, os::Time now) {
  return Selector(inventory, last_use, policy, now).select();
}

}  // namespace nixery::maintenance
