#include "maintenance/collect.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "error.h"
#include "maintenance/future_times.h"
#include "maintenance/last_run.h"
#include "maintenance/last_use.h"
#include "maintenance/make_room.h"
#include "maintenance/orphans.h"
#include "maintenance/upkeep_lock.h"
#include "os/directory.h"
#include "os/lock.h"
#include "tree/records.h"
#include "tree/referrers.h"
#include "tree/tree.h"
#include "tree/tree_lock.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

std::vector<os::Time> traces_of(const Inventory& inventory, const LastUse& uses) {
  std::vector<os::Time> traces;
  for (const Blob& blob : inventory.blobs) traces.push_back(blob.time);
  for (const Manifest& manifest : inventory.manifests) {
    traces.push_back(manifest.time);
    traces.push_back(uses.of(manifest.digest));
  }
  return traces;
}

// Moves what is dropped out of what is served; the disk is given its blocks back when nobody waits any more.
class Trash {
 public:
  explicit Trash(const tree::Layout& layout) : incoming_(layout.incoming()) {}

  // False where it has gone already.
  bool take(const fs::path& file) {
    const fs::path target = incoming_ / fmt::format("{}{}", prefix, next_++);
    if (rename(file.c_str(), target.c_str()) == 0) return true;
    // Without that directory, or room in it, the file is removed in its place: that needs none.
    if (unlink(file.c_str()) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    os::throw_errno("remove", file);
  }

  // That of a collection that was cut off, too.
  void empty() const {
    os::for_each_entry(incoming_, [](const auto& entry) {
      if (entry.path().filename().string().starts_with(prefix)) unlink(entry.path().c_str());
    });
  }

 private:
  static constexpr std::string_view prefix = ".collected-";
  const fs::path incoming_;
  std::size_t next_ = 0;
};

// What has another time now is what a build counts on since: it is about to get a tag or an index, or has got one that
// is not in the inventory.
void update_times(const tree::Layout& layout, Inventory& inventory) {
  for (Manifest& manifest : inventory.manifests)
    if (const auto status = os::status_of(layout.manifest(manifest.digest, manifest.type));
        status && status->modified != manifest.time) {
      manifest.time = status->modified;
      manifest.is_touched = true;
    }
}

class Removal {
 public:
  Removal(const tree::Layout& layout, const Inventory& inventory, const Selection& selection, Collection& done)
      : layout_(layout), inventory_(inventory), selection_(selection), done_(done), trash_(layout) {}

  // To be called by who is alone with the tree.
  void remove() {
    for (const Number tag : selection_.tags) remove(inventory_.tags[tag]);
    for (const Number manifest : selection_.manifests) remove(inventory_.manifests[manifest]);
    for (const Number blob : selection_.blobs) remove(inventory_.blobs[blob]);
  }
  void empty_trash() const { trash_.empty(); }

 private:
  void remove(const Tag& tag) {
    const fs::path link = layout_.tag(tag.repository, tag.tag);
    const auto status = os::status_of(link);
    if (!status || status->modified != tag.time) return;  // it was published anew
    if (!tag.manifest && leads_somewhere(tag)) return;    // so was what it leads to
    const fs::path record = layout_.record(tag.repository, tag.tag);
    tree::Tree(layout_).drop_tag(tag.repository, tag.tag);
    unlink(record.c_str());
    os::remove_empty(link.parent_path(), layout_.tree / "tags");
    os::remove_empty(record.parent_path(), layout_.records());
    ++done_.tags;
  }

  bool leads_somewhere(const Tag& tag) const {
    const auto digest = tree::Tree(layout_).digest_of_tag(tag.repository, tag.tag);
    return digest && os::status_of(layout_.manifest_dir(*digest));
  }

  void remove(const Manifest& manifest) {
    if (trash_.take(layout_.manifest(manifest.digest, manifest.type))) ++done_.manifests;
    rmdir(layout_.manifest_dir(manifest.digest).c_str());
    const fs::path referrers = tree::referrers_dir(layout_, manifest.digest);
    os::for_each_entry(referrers, [&](const auto& entry) { trash_.take(entry.path()); });
    rmdir(referrers.c_str());
  }

  void remove(const Blob& blob) {
    const fs::path file = layout_.blob(blob.digest);
    const auto status = os::status_of(file);
    if (!status) return;
    if (status->modified != blob.time) {  // a build counts on it
      done_.freed -= blob.size;
      done_.left += blob.size;
      return;
    }
    os::touch(layout_.recipe(blob.digest));  // from which it can be made again for a while
    if (trash_.take(file)) ++done_.blobs;
  }

  const tree::Layout& layout_;
  const Inventory& inventory_;
  const Selection& selection_;
  Collection& done_;
  Trash trash_;
};

void describe(const Inventory& inventory, const Selection& selection, Collection& collection) {
  for (const DroppedImage& dropped : selection.images) {
    Collection::Image image{{}, inventory.manifests[dropped.manifest].digest, dropped.last_use, dropped.reason};
    for (const Tag& tag : inventory.tags)
      if (tag.manifest == dropped.manifest) image.names.push_back(fmt::format("{}:{}", tag.repository, tag.tag));
    collection.images.push_back(std::move(image));
  }
  collection.freed = selection.freed;
  collection.left = selection.left;
}

// What manifests that stay lead to, although it is not there.
std::set<image::Digest> missing_blobs(const Inventory& inventory, const Selection& selection) {
  std::set<image::Digest> missing;
  for (Number i = 0; i < inventory.manifests.size(); ++i)
    if (!std::binary_search(selection.manifests.begin(), selection.manifests.end(), i))
      missing.insert(inventory.manifests[i].missing.begin(), inventory.manifests[i].missing.end());
  return missing;
}

}  // namespace

Collection collect(const tree::Layout& layout, const Policy& policy, const fs::path& use_log, Mode mode) {
  check_tree_exists(layout);
  if (mode == Mode::real) make_lock_files(layout);
  const os::Lock only_one = upkeep_lock(layout);
  Collection collection;
  Run run = this_run();
  const os::Time start = run.time;
  if (mode == Mode::real) write_if_possible("cannot keep the uses of images", [&] { record_uses(layout, use_log); });
  LastUse uses(layout);
  const auto read_uses = [&] {
    uses = LastUse(layout);
    uses.read_log(use_log);
    if (run.believed) uses.reset_future(start);
  };
  uses.read_log(use_log);
  const auto last_use = [&](const image::Digest& digest) { return uses.of(digest); };
  Inventory inventory = list_files(layout);
  Policy allowed = policy;
  if (const auto last = last_run(layout)) judge(run, *last, traces_of(inventory, uses));
  if (run.believed) {
    reset_future_times(layout, inventory, start, mode);
    uses.reset_future(start);
  } else {
    collection.clock_jumped = true;
    allowed.max_age.reset();
  }
  const OrphanLimits limits{policy.grace, allowed.max_age, run.believed};
  if (mode == Mode::dry_run) {
    read_links(layout, inventory);
    if (run.believed) reset_future_tags(layout, inventory, start, mode);
    const Selection selection = select(inventory, last_use, allowed, start);
    describe(inventory, selection, collection);
    collection.tags = selection.tags.size();
    collection.manifests = selection.manifests.size();
    collection.blobs = selection.blobs.size();
    const auto stays = [&](const image::Digest& digest) {
      const auto blob = inventory.blob(digest), manifest = inventory.manifest(digest);
      return (blob && !std::binary_search(selection.blobs.begin(), selection.blobs.end(), *blob)) ||
             (manifest && !std::binary_search(selection.manifests.begin(), selection.manifests.end(), *manifest));
    };
    collection.state_files = remove_orphans(layout, stays, missing_blobs(inventory, selection), start, limits, mode);
    return collection;
  }

  { const tree::ExclusiveTreeLock alone(layout); }  // step 2 of tree/tree_lock.h
  list_manifests(layout, inventory);  // those, too, that were published meanwhile: they hold blobs of step 1
  read_links(layout, inventory);
  if (run.believed) reset_future_tags(layout, inventory, start, mode);
  std::set<image::Digest> missing;
  {
    const tree::ExclusiveTreeLock alone(layout);
    update_times(layout, inventory);
    read_uses();  // the pulls of this minute, too, also those that other hosts know of
    const Selection selection = select(inventory, last_use, allowed, this_run().time);
    describe(inventory, selection, collection);
    missing = missing_blobs(inventory, selection);
    Removal removal(layout, inventory, selection, collection);
    removal.remove();
  }
  Trash(layout).empty();
  write_if_possible("cannot keep the uses of images", [&] {
    const os::Lock lock = uses_lock(layout);
    read_uses();
    uses.forget([&](const image::Digest& digest) { return !os::status_of(layout.manifest_dir(digest)); });
    uses.save();
  });
  const auto stays = [&](const image::Digest& digest) {
    return os::status_of(layout.blob(digest)) || os::status_of(layout.manifest_dir(digest));
  };
  collection.state_files = remove_orphans(layout, stays, missing, start, limits, mode);
  write_if_possible("cannot keep the time of this collection", [&] { remember(layout, run); });
  return collection;
}

}  // namespace nixery::maintenance
