#include "command/progress_meter.h"

#include "os/usage.h"

namespace nixery::command {

namespace {

std::optional<metrics::Disk> disk(const tree::BlobStore& store, tree::Kind kind) {
  const auto space = store.room(kind);
  if (!space) return std::nullopt;
  return metrics::Disk{space->free, space->size};
}

}  // namespace

ProgressMeter::ProgressMeter(const RegistryParts& parts, const pipeline::Builder& builder, std::string listener)
    : parts_(parts),
      builder_(builder),
      listener_(std::move(listener)),
      size_monitor_(parts.tree.store(), parts.config.use_log) {}

metrics::Readings ProgressMeter::read() {
  metrics::Readings readings;
  readings.version = NIXERY_VERSION;
  readings.listener = listener_;
  if (const auto trouble = parts_.probe.last()) readings.nix_can_build = trouble->empty();
  readings.builds_queued = builder_.queued();
  readings.builds_running = builder_.running();
  const layer::WriteStats layers = parts_.writer.totals();
  readings.compressed = layers.compressed;
  readings.copied = layers.copied;
  readings.written = layers.written;
  readings.layers_reused = layers.layers_reused;
  readings.tree_disk = disk(parts_.tree.store(), tree::Kind::blob);
  readings.state_disk = disk(parts_.tree.store(), tree::Kind::record);
  readings.min_free = parts_.config.min_free;
  if (const auto counted = size_monitor_.latest()) {
    readings.tree = {counted->blobs, counted->bytes, counted->time};
    readings.pulls = counted->pulls;
  }
  const os::Usage usage = os::own_usage();
  readings.process = {usage.resident_bytes, usage.virtual_bytes, usage.open_fds, usage.max_fds,
                      usage.threads,        usage.cpu_seconds,   start_};
  return readings;
}

}  // namespace nixery::command
