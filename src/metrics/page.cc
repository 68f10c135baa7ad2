#include "metrics/page.h"

#include "metrics/exposition.h"

namespace nixery::metrics {

namespace {

double seconds_of(std::chrono::system_clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

void requests(Exposition& page, const Metrics& metrics) {
  page.counter("nixery_requests_total", "Requests that this worker answered because nginx could not serve them.");
  metrics.requests.for_each_count([&](std::string_view route, int status, std::uint64_t count) {
    page.sample({{"route", route}, {"status", std::to_string(status)}}, count);
  });
  page.histogram("nixery_request_duration_seconds",
                 "From accepting a request to its response, including waits for builds.");
  metrics.requests.for_each_duration([&](std::string_view route, const Histogram& durations) {
    page.sample({{"route", route}}, durations);
  });
  page.counter("nixery_response_bytes_total", "Bytes of response bodies that this worker sent to nginx.");
  page.sample({}, metrics.response_bytes.value());
  page.gauge("nixery_requests_waiting", "Requests that wait for a build now.");
  page.sample({}, metrics.waiting.value());
  page.gauge("nixery_streams_open", "Clients that follow a build's events now.");
  page.sample({}, metrics.streams.value());

  page.counter("nixery_lookups_total",
               "Results of requests that nginx could not serve: the image was there by then, a build was started, one "
               "was joined, a failure was cached, or the queue was full.");
  const auto look_ups = [&](std::string_view kind, const LookUps& counts) {
    page.sample({{"kind", kind}, {"result", "there"}}, counts.there.value());
    page.sample({{"kind", kind}, {"result", "began"}}, counts.began.value());
    page.sample({{"kind", kind}, {"result", "joined"}}, counts.joined.value());
    page.sample({{"kind", kind}, {"result", "remembered"}}, counts.remembered.value());
    page.sample({{"kind", kind}, {"result", "refused"}}, counts.refused.value());
  };
  look_ups("tag", metrics.tags);
  look_ups("blob", metrics.blobs);
}

void builds(Exposition& page, const Metrics& metrics, const Readings& readings) {
  page.counter("nixery_builds_total",
               "Builds of images and blobs by outcome: built, found (the image was there under another name, or "
               "another worker built it), or the failure.");
  page.sample({{"outcome", "built"}}, metrics.built.value());
  page.sample({{"outcome", "found"}}, metrics.found.value());
  for (std::size_t i = 0; i < failure_count; ++i)
    page.sample({{"outcome", nixery::name_of(static_cast<Failure>(i))}}, metrics.failed[i].value());
  page.histogram("nixery_build_duration_seconds",
                 "Duration of builds with outcome built, without their time in the queue.");
  page.sample({}, metrics.build_duration);
  page.histogram("nixery_build_phase_duration_seconds",
                 "Phases of builds, also of those that failed: finding and fetching the package source, evaluating, "
                 "nix building or fetching, writing layers, publishing. Each platform of an index counts separately.");
  page.sample({{"phase", "source"}}, metrics.source);
  page.sample({{"phase", "resolve"}}, metrics.resolve);
  page.sample({{"phase", "realise"}}, metrics.realise);
  page.sample({{"phase", "layer"}}, metrics.layer);
  page.sample({{"phase", "publish"}}, metrics.publish);
  page.gauge("nixery_builds_queued", "Builds that wait for a free build thread now.");
  page.sample({}, readings.builds_queued);
  page.gauge("nixery_builds_running", "Builds running now.");
  page.sample({}, readings.builds_running);
  page.counter("nixery_evaluations_total", "Evaluations of names by nix.");
  page.sample({}, metrics.evaluations.run.value());
  page.counter(
      "nixery_evaluations_spared_total",
      "Names that were refused without an evaluation because they are not among the package set's known names.");
  page.sample({}, metrics.evaluations.spared.value());

  page.counter("nixery_nix_faults_total",
               "Builds and evaluations that failed because of this host or nix, by kind of fault. These failures are "
               "not cached.");
  for (std::size_t i = 0; i < nix_fault_count; ++i)
    page.sample({{"fault", name_of(static_cast<NixFault>(i))}}, metrics.nix_faults[i].value());
  if (readings.nix_can_build) {
    page.gauge("nixery_nix_can_build", "1 if the last probe build of a tiny derivation succeeded, else 0.");
    page.sample({}, std::uint64_t{*readings.nix_can_build ? 1u : 0u});
  }

  page.counter("nixery_layer_compressed_bytes_total", "Bytes of tar that were compressed for layers.");
  page.sample({}, readings.compressed);
  page.counter("nixery_layer_reused_bytes_total",
               "Compressed bytes of layers that were copied from other layers' segments.");
  page.sample({}, readings.copied);
  page.counter("nixery_layer_written_bytes_total",
               "Compressed bytes of layers that were written, including copied ones.");
  page.sample({}, readings.written);
  page.counter("nixery_layers_reused_total", "Layers that existed already.");
  page.sample({}, readings.layers_reused);
}

void disks(Exposition& page, const Readings& readings) {
  if (readings.tree) {
    page.gauge("nixery_tree_blobs", "Blobs in the tree when it was last counted.");
    page.sample({}, readings.tree->blobs);
    page.gauge("nixery_tree_blob_bytes", "Bytes of the blobs in the tree when it was last counted.");
    page.sample({}, readings.tree->bytes);
    page.gauge("nixery_tree_counted_timestamp_seconds",
               "When the tree was last counted. A request starts a new count in the background if the last one is "
               "older than five seconds and fifty times its duration.");
    page.sample({}, seconds_of(readings.tree->time));
  }
  if (readings.pulls) {
    page.counter("nixery_pulls_total",
                 "Manifests that nginx sent or found unchanged, from the tree or any worker, since this worker "
                 "started, by nginx's log of pulls. Workers that read the same log report the same number.");
    page.sample({}, *readings.pulls);
  }
  const auto both = [&](std::uint64_t Disk::*what) {
    if (readings.tree_disk) page.sample({{"directory", "tree"}}, *readings.tree_disk.*what);
    if (readings.state_disk) page.sample({{"directory", "state"}}, *readings.state_disk.*what);
  };
  if (readings.tree_disk || readings.state_disk) {
    page.gauge("nixery_disk_free_bytes",
               "Bytes free for the worker on the file systems of NIXERY_TREE and NIXERY_STATE.");
    both(&Disk::free);
    page.gauge("nixery_disk_size_bytes", "Size of the file systems of NIXERY_TREE and NIXERY_STATE.");
    both(&Disk::size);
  }
  page.gauge("nixery_disk_min_free_bytes", "NIXERY_MIN_FREE: with less free space, the worker is not ready.");
  page.sample({}, readings.min_free);
}

// The standard names of Prometheus client libraries.
void process(Exposition& page, const Process& process) {
  page.counter("process_cpu_seconds_total", "Processor time of this worker, without its child processes.");
  page.sample({}, process.cpu_seconds);
  page.gauge("process_resident_memory_bytes", "Resident memory.");
  page.sample({}, process.resident_bytes);
  page.gauge("process_virtual_memory_bytes", "Address space.");
  page.sample({}, process.virtual_bytes);
  page.gauge("process_open_fds", "Open descriptors.");
  page.sample({}, process.open_fds);
  page.gauge("process_max_fds", "Limit of open descriptors.");
  page.sample({}, process.max_fds);
  page.gauge("process_threads", "Threads.");
  page.sample({}, process.threads);
  page.gauge("process_start_time_seconds", "Start time of the worker.");
  page.sample({}, seconds_of(process.start));
}

}  // namespace

std::string_view name_of(NixFault fault) {
  switch (fault) {
    case NixFault::disk: return "disk";
    case NixFault::build_users: return "build_users";
    case NixFault::limits: return "limits";
    case NixFault::sandbox: return "sandbox";
    case NixFault::gc_roots: return "gc_roots";
    case NixFault::store: return "store";
    case NixFault::daemon: return "daemon";
    case NixFault::network: return "network";
    case NixFault::killed: return "killed";
    case NixFault::other: return "other";
  }
  return {};
}

std::string page(const Metrics& metrics, const Readings& readings) {
  Exposition page;
  page.gauge("nixery_build_info", "1, and the version of the worker.");
  page.sample({{"version", readings.version}}, std::uint64_t{1});
  page.gauge("nixery_worker_info", "1, with the address where this worker listens.");
  page.sample({{"listener", readings.listener}}, std::uint64_t{1});
  requests(page, metrics);
  builds(page, metrics, readings);
  disks(page, readings);
  process(page, readings.process);
  return page.text();
}

}  // namespace nixery::metrics
