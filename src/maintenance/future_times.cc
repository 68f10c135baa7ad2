#include "maintenance/future_times.h"

#include "maintenance/last_run.h"
#include "os/file.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

void reset(const fs::path& file, os::Time& time, os::Time now, Mode mode) {
  if (!is_in_future(time, now)) return;
  time = now;
  if (mode == Mode::dry_run || !os::touch(file)) return;
  if (const auto status = os::status_of(file)) time = status->modified;
}

}  // namespace

void reset_future_times(const tree::Layout& layout, Inventory& inventory, os::Time now, Mode mode) {
  for (Blob& blob : inventory.blobs) reset(layout.blob(blob.digest), blob.time, now, mode);
  for (Manifest& manifest : inventory.manifests)
    reset(layout.manifest(manifest.digest, manifest.type), manifest.time, now, mode);
}

void reset_future_tags(const tree::Layout& layout, Inventory& inventory, os::Time now, Mode mode) {
  for (Tag& tag : inventory.tags)
    if (!tag.manifest) reset(layout.tag(tag.repository, tag.tag), tag.time, now, mode);
}

}  // namespace nixery::maintenance
