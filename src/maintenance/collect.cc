#include "maintenance/collect.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "error.h"
#include "maintenance/future_times.h"
#include "maintenance/last_run.h"
#include "maintenance/last_use.h"
#include "maintenance/maintenance_lock.h"
#include "maintenance/make_room.h"
#include "maintenance/orphans.h"
#include "tree/referrers.h"
#include "tree/tree.h"
#include "tree/tree_lock.h"

namespace nixery::maintenance {

namespace {

using tree::ObjectName;

std::vector<os::Time> traces_of(const Inventory& inventory, const LastUse& uses) {
  std::vector<os::Time> traces;
  for (const Blob& blob : inventory.blobs) traces.push_back(blob.time);
  for (const Manifest& manifest : inventory.manifests) {
    traces.push_back(manifest.time);
    traces.push_back(uses.of(manifest.digest));
  }
  return traces;
}

// A changed time means that a build uses the manifest: it is about to get a tag or an index, or has one that is not in
// the inventory.
void update_times(const tree::BlobStore& store, Inventory& inventory) {
  for (Manifest& manifest : inventory.manifests)
    if (const auto status = store.status(tree::ObjectName::manifest(manifest.digest, manifest.type));
        status && status->modified != manifest.time) {
      manifest.time = status->modified;
      manifest.is_touched = true;
    }
}

class Removal {
 public:
  Removal(const tree::BlobStore& store, const Inventory& inventory, const Selection& selection, Collection& done)
      : store_(store), inventory_(inventory), selection_(selection), done_(done) {}

  // Under an ExclusiveTreeLock.
  void remove() {
    for (const Number tag : selection_.tags) remove(inventory_.tags[tag]);
    for (const Number manifest : selection_.manifests) remove(inventory_.manifests[manifest]);
    for (const Number blob : selection_.blobs) remove(inventory_.blobs[blob]);
  }

 private:
  void remove(const Tag& tag) {
    const auto name = ObjectName::tag(tag.repository, tag.tag);
    const auto status = store_.status(name);
    if (!status || status->modified != tag.time) return;  // it was published again
    if (!tag.manifest && leads_somewhere(name)) return;   // so was its target
    store_.retire(name);
    store_.retire(ObjectName::record(tag.repository, tag.tag));
    ++done_.tags;
  }

  bool leads_somewhere(const ObjectName& tag) const {
    const auto digest = tree::read_tag(store_, tag);
    return digest && tree::has_manifest(store_, *digest);
  }

  void remove(const Manifest& manifest) {
    if (store_.retire(ObjectName::manifest(manifest.digest, manifest.type))) ++done_.manifests;
    tree::retire_referrers(store_, manifest.digest);
  }

  void remove(const Blob& blob) {
    const auto name = ObjectName::blob(blob.digest);
    const auto status = store_.status(name);
    if (!status) return;
    if (status->modified != blob.time) {  // a build uses it
      done_.freed -= blob.size;
      done_.left += blob.size;
      return;
    }
    store_.touch(ObjectName::recipe(blob.digest));  // kept for a while to rebuild the blob
    if (store_.retire(name)) ++done_.blobs;
  }

  const tree::BlobStore& store_;
  const Inventory& inventory_;
  const Selection& selection_;
  Collection& done_;
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

// Missing blobs of manifests that stay.
std::set<image::Digest> missing_blobs(const Inventory& inventory, const Selection& selection) {
  std::set<image::Digest> missing;
  for (Number i = 0; i < inventory.manifests.size(); ++i)
    if (!std::binary_search(selection.manifests.begin(), selection.manifests.end(), i))
      missing.insert(inventory.manifests[i].missing.begin(), inventory.manifests[i].missing.end());
  return missing;
}

}  // namespace

Collection collect(const tree::BlobStore& store, const tree::LocalState& local, const Policy& policy,
                   const std::filesystem::path& use_log, Mode mode) {
  store.require();
  if (mode == Mode::real) prepare_locks(store, local);
  const auto only_one = maintenance_lock(store);
  Collection collection;
  Run run = this_run();
  const os::Time start = run.time;
  if (mode == Mode::real) write_if_possible("cannot keep the uses of images", [&] { record_uses(store, use_log); });
  LastUse uses(store);
  const auto read_uses = [&] {
    uses = LastUse(store);
    uses.read_log(use_log);
    if (run.believed) uses.reset_future(start);
  };
  uses.read_log(use_log);
  const auto last_use = [&](const image::Digest& digest) { return uses.of(digest); };
  Inventory inventory = list_files(store);
  Policy allowed = policy;
  if (const auto last = last_run(store)) judge(run, *last, traces_of(inventory, uses));
  if (run.believed) {
    reset_future_times(store, inventory, start, mode);
    uses.reset_future(start);
  } else {
    collection.clock_jumped = true;
    allowed.max_age.reset();
  }
  const OrphanLimits limits{policy.grace, allowed.max_age, run.believed};
  if (mode == Mode::dry_run) {
    read_links(store, inventory);
    if (run.believed) reset_future_tags(store, inventory, start, mode);
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
    collection.state_files =
        remove_orphans(store, local, stays, missing_blobs(inventory, selection), start, limits, mode);
    return collection;
  }

  { const tree::ExclusiveTreeLock alone(store); }  // step 2 of tree/tree_lock.h
  list_manifests(store, inventory);                // including those published meanwhile, which use blobs of step 1
  read_links(store, inventory);
  if (run.believed) reset_future_tags(store, inventory, start, mode);
  std::set<image::Digest> missing;
  {
    const tree::ExclusiveTreeLock alone(store);
    update_times(store, inventory);
    read_uses();  // also the latest pulls, and those recorded by other hosts
    const Selection selection = select(inventory, last_use, allowed, this_run().time);
    describe(inventory, selection, collection);
    missing = missing_blobs(inventory, selection);
    Removal removal(store, inventory, selection, collection);
    removal.remove();
  }
  store.reclaim();
  write_if_possible("cannot keep the uses of images", [&] {
    const auto lock = uses_lock(store);
    read_uses();
    uses.forget([&](const image::Digest& digest) { return !tree::has_manifest(store, digest); });
    uses.save();
  });
  const auto stays = [&](const image::Digest& digest) {
    return store.status(ObjectName::blob(digest)) || tree::has_manifest(store, digest);
  };
  collection.state_files = remove_orphans(store, local, stays, missing, start, limits, mode);
  write_if_possible("cannot keep the time of this collection", [&] { remember(store, run); });
  return collection;
}

}  // namespace nixery::maintenance
