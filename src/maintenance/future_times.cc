#include "maintenance/future_times.h"

#include "maintenance/last_run.h"

namespace nixery::maintenance {

namespace {

void reset(const tree::BlobStore& store, const tree::ObjectName& name, os::Time& time, os::Time now, Mode mode) {
  if (!is_in_future(time, now)) return;
  time = now;
  if (mode == Mode::dry_run || !store.touch(name)) return;
  if (const auto status = store.status(name)) time = status->modified;
}

}  // namespace

void reset_future_times(const tree::BlobStore& store, Inventory& inventory, os::Time now, Mode mode) {
  for (Blob& blob : inventory.blobs) reset(store, tree::ObjectName::blob(blob.digest), blob.time, now, mode);
  for (Manifest& manifest : inventory.manifests)
    reset(store, tree::ObjectName::manifest(manifest.digest, manifest.type), manifest.time, now, mode);
}

void reset_future_tags(const tree::BlobStore& store, Inventory& inventory, os::Time now, Mode mode) {
  for (Tag& tag : inventory.tags)
    if (!tag.manifest) reset(store, tree::ObjectName::tag(tag.repository, tag.tag), tag.time, now, mode);
}

}  // namespace nixery::maintenance
