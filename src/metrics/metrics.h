// All counters of a registry, in one place: the components that do the work are given this and count in it, and
// page.h shows it. A plain value, owned by the code that assembles a registry; a process may have several.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "error.h"
#include "metrics/value.h"

namespace nixery::metrics {

// Responses by route and HTTP status, and how long they took. A route is an index into `labels`, which must outlive it.
class RequestCounts {
 public:
  explicit RequestCounts(const std::vector<std::string_view>& labels = {})
      : routes_(std::make_unique<OfRoute[]>(labels.size())), size_(labels.size()) {
    for (std::size_t route = 0; route < size_; ++route) routes_[route].label = labels[route];
  }

  std::string_view label(std::size_t route) const { return routes_[route].label; }
  void note(std::size_t route, int status, std::chrono::nanoseconds duration) {
    routes_[route].counts[status < 0 || status >= statuses ? 0 : static_cast<std::size_t>(status)].add();
    routes_[route].durations.observe(duration);
  }

  template <typename Visit>  // (std::string_view label, int status, std::uint64_t)
  void for_each_count(Visit&& visit) const {
    for (std::size_t route = 0; route < size_; ++route)
      for (int status = 0; status < statuses; ++status)
        if (const auto count = routes_[route].counts[static_cast<std::size_t>(status)].value();
            count > 0 || status == 200)
          visit(routes_[route].label, status, count);
  }
  template <typename Visit>  // (std::string_view label, const Histogram&)
  void for_each_duration(Visit&& visit) const {
    for (std::size_t route = 0; route < size_; ++route) visit(routes_[route].label, routes_[route].durations);
  }

 private:
  static constexpr int statuses = 600;
  struct OfRoute {
    std::string_view label;
    std::array<Counter, statuses> counts;
    Histogram durations;
  };
  std::unique_ptr<OfRoute[]> routes_;
  std::size_t size_;
};

// Results of looking up requests that nginx could not serve itself.
struct LookUps {
  Counter there;       // between two workers, or without nginx
  Counter began;       // a build
  Counter joined;      // coalesced with a queued or running job
  Counter remembered;  // a cached failure
  Counter refused;     // the queue was full
};

// Why Nix failed if the host or Nix is at fault, not the package.
enum class NixFault {
  disk,         // full, failing or read-only
  build_users,  // none, or not enough
  limits,       // descriptors, processes, memory
  sandbox,      // cannot be set up
  gc_roots,     // cannot be made
  store,        // its database or directories cannot be used
  daemon,       // cannot be reached, or went away
  network,      // a download that may succeed on retry
  killed,       // a builder killed by a signal: often by the kernel's OOM killer
  other,        // found because a trivial build fails, too
};
inline constexpr std::size_t nix_fault_count = static_cast<std::size_t>(NixFault::other) + 1;
std::string_view name_of(NixFault fault);  // "build_users"

using NixFaults = std::array<Counter, nix_fault_count>;

struct Evaluations {
  Counter run;
  Counter spared;  // refused without an evaluation: not among the set's known names
};

struct Metrics {
  Metrics() = default;
  explicit Metrics(const std::vector<std::string_view>& route_labels) : requests(route_labels) {}

  RequestCounts requests;
  Counter response_bytes;
  Gauge waiting, streams;  // requests

  LookUps tags, blobs;
  Counter built, found;                                // builds that ended well
  std::array<Counter, failure_count> failed;           // builds that failed, by kind
  Histogram build_duration;                            // of built ones
  Histogram source, resolve, realise, layer, publish;  // their phases, also of builds that failed
  Evaluations evaluations;
  NixFaults nix_faults;  // builds and evaluations that failed because of them

  // A number that goes up whenever this worker may have seen a new image, built by itself or another worker: for lists
  // of images that are cached.
  std::uint64_t images_changed() const { return built.value() + found.value() + tags.there.value(); }
};

}  // namespace nixery::metrics
