// Builds as flights: what the registry asks for.
#pragma once

#include <atomic>
#include <memory>

#include "build/declared_set.h"
#include "build/flights.h"
#include "build/road.h"
#include "reference/reference.h"

namespace nixery::build {

// Thread-safe.
class Builder {
 public:
  Builder(const Road& road, const tree::Tree& tree, nix::Source& source, layer::Writer& writer, DeclaredSet& declared,
          FlightLimits limits);
  ~Builder();  // stops

  // Stops what nix and git are doing for us, a refresh too; builds are resumed when they are asked for again. For good.
  void stop() { stopping_ = true; }

  // The flight that builds `reference` and publishes its tag, also where it began under another spelling of the same
  // image. `address` is of the client. Throws Error{too_busy}.
  std::shared_ptr<Flight> start(const reference::Reference& reference, std::string_view address);
  // The one that builds it, or failed to just now; null where there is none.
  std::shared_ptr<Flight> flight_of(const reference::Reference& reference) const;

  // What a name stands for now: a declared image, or packages. Throws as find_reference().
  reference::Reference find(std::string_view repository, std::string_view tag) const {
    return find_reference(*declared_.current(), repository, tag);
  }
  // Whether the reference's tag, if there is one, is of what it means now.
  bool tag_matches(const reference::Reference& reference) const;
  // Drops the tags that are no longer meant by the declarations and the settings. How many.
  std::size_t drop_outdated_tags();

  bool can_rebuild(const image::Digest& blob) const;
  std::shared_ptr<Flight> start_rebuilding(const image::Digest& blob, std::string_view address);

  // Looks whether the sources of moving tags have moved, or are not served any more, and drops the tags of those that
  // have or are not. How many.
  std::size_t refresh();

  std::size_t queued() const { return flights_.queued(); }
  std::size_t in_the_air() const { return flights_.in_the_air(); }
  metrics::Metrics& metrics() const { return road_.metrics(); }

  // Until every flight that was begun has landed.
  void wait_until_idle() { flights_.wait_until_idle(); }

 private:
  std::shared_ptr<Flight> join(metrics::LookUps& look_ups, std::string_view address, const std::string& key, Work work,
                               Errand errand = {});
  void publish_tag(const reference::Reference& reference, const Landing& landing) const;
  void count_failure(const Error& error) const;
  void drop_if_changed(const reference::Reference& reference) const;
  void remember_failure(const reference::Reference& reference, const Error& error) const;
  Landing build(const reference::Reference& reference, Progress& progress);
  Landing rebuild(const std::string& key, const image::Digest& blob, Progress& progress);

  const Road& road_;
  const tree::Tree& tree_;
  nix::Source& source_;
  layer::Writer& writer_;
  DeclaredSet& declared_;
  std::atomic<bool> stopping_{false};
  Flights flights_;  // last: its threads use the rest
};

}  // namespace nixery::build
