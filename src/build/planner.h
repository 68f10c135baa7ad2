// Looks into the package set without building anything: what an image would hold, and which packages there are.
//
// Evaluations are flights of a queue of their own, one in the air at a time: they neither wait for builds nor hold them
// up.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "build/flights.h"
#include "build/plan_report.h"
#include "build/road.h"
#include "reference/reference.h"

namespace nixery::build {

// What an evaluation told of a package.
struct PackageFacts {
  std::string version, description;
};

// Thread-safe.
class Planner {
 public:
  Planner(const Road& road, const tree::Tree& tree, nix::Source& source, FlightLimits limits);
  ~Planner();  // stops the evaluation in the air

  // The flight whose report is {"reference":…,"plans":[…]}, one plan for each platform of the image. Throws
  // Error{too_busy}.
  std::shared_ptr<Flight> start_plan(const reference::Reference& reference, std::string_view address);

  struct Matches {
    std::vector<std::string> names;  // as image names spell them: "python3packages.requests"
    bool more = false;               // there are others
    // Where the names are not known yet, or have been known for a while: who looks them up. May be null.
    std::shared_ptr<Flight> lookup;
    bool known = false;
  };
  // At most `count` packages of tag latest: first those that begin with `text`, then those that hold it, the shortest
  // first. Of "set.text", within the set. Throws Error{too_busy, bad_query}.
  Matches search(std::string_view text, std::size_t count, std::string_view address);

  // Nothing but what plans have told since this process began.
  PackageFacts facts_of(const std::string& name) const;

 private:
  struct Names {
    std::shared_ptr<const std::vector<std::string>> list;  // ascending; the last components, lower case
    std::chrono::steady_clock::time_point learnt;
  };
  Landing plan(const reference::Reference& reference, Progress& progress);
  Landing list(const std::string& set, Progress& progress);
  std::vector<std::string> names_of(const nix::PinnedSource& source, const std::string& set) const;
  std::vector<std::string> pullable(const std::string& set, const std::vector<std::string>& names) const;
  void learn_facts(const ResolvedImage& image);

  const Road& road_;
  const tree::Tree& tree_;
  nix::Source& source_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;            // guards what follows, but for flights_
  std::map<std::string, Names> names_;  // by set
  std::map<std::string, PackageFacts> facts_;
  Flights flights_;  // last: its threads use the rest
};

}  // namespace nixery::build
