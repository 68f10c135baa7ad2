// All counters of a registry, in one place: the components that do the work are given this and count in it, and
// page.h shows it. A plain value, owned by the code that assembles a registry; a process may have several.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string_view>

#include "error.h"
#include "metrics/value.h"

namespace nixery::metrics {

// The route of a request, as a label; http/routes.h maps paths to routes.
enum class Route { base, manifest, blob, tags, catalog, referrers, api, events, page, metrics, health, ready, none };
inline constexpr std::size_t route_count = static_cast<std::size_t>(Route::none) + 1;
std::string_view name_of(Route route);  // "manifest"

// By route and HTTP status.
class RequestCounts {
 public:
  Counter& of(Route route, int status) {
    return (*counts_)[static_cast<std::size_t>(route)][status < 0 || status >= statuses ? 0 : std::size_t(status)];
  }
  template <typename Visit>  // (Route, int status, std::uint64_t)
  void for_each(Visit&& visit) const {
    for (std::size_t route = 0; route < route_count; ++route)
      for (int status = 0; status < statuses; ++status)
        if (const auto count = (*counts_)[route][std::size_t(status)].value(); count > 0 || status == 200)
          visit(static_cast<Route>(route), status, count);
  }

 private:
  static constexpr int statuses = 600;
  using Counts = std::array<std::array<Counter, statuses>, route_count>;
  std::unique_ptr<Counts> counts_ = std::make_unique<Counts>();
};

// How it went for a request that nginx could not answer by itself.
struct LookUps {
  Counter there;       // between two workers, or without nginx
  Counter began;       // a build
  Counter joined;      // coalesced with a queued or running job
  Counter remembered;  // that it failed a moment ago
  Counter refused;     // the queue was full
};

// Why Nix failed, where the fault was the machine's or its own, and not the package's.
enum class NixFault {
  disk,         // full, failing or read-only
  build_users,  // none, or not enough
  limits,       // descriptors, processes, memory
  sandbox,      // cannot be set up
  gc_roots,     // cannot be made
  store,        // its database or directories cannot be used
  daemon,       // cannot be reached, or went away
  network,      // a download that another try may bring
  killed,       // a builder that somebody else ended: often the kernel, for want of memory
  other,        // found by a build of nothing that fails, too
};
inline constexpr std::size_t nix_fault_count = static_cast<std::size_t>(NixFault::other) + 1;
std::string_view name_of(NixFault fault);  // "build_users"

using NixFaults = std::array<Counter, nix_fault_count>;

struct Evaluations {
  Counter run;
  Counter spared;  // the set's names were known, and this was none of them
};

struct Metrics {
  RequestCounts requests;
  std::array<Histogram, route_count> request_durations;
  Counter response_bytes;
  Gauge waiting, streams;  // requests

  LookUps tags, blobs;
  Counter built, found;                                // builds that ended well
  std::array<Counter, failure_count> failed;           // and those that did not
  Histogram build_duration;                            // of those that were built
  Histogram source, resolve, realise, layer, publish;  // their phases, also of builds that failed
  Evaluations evaluations;
  NixFaults nix_faults;  // builds and evaluations that failed of them
};

}  // namespace nixery::metrics
