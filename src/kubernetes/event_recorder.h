// Events of NixImages: one for each change that people care about, told once the status is, and not more of an object
// than somebody will read.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "kubernetes/api_client.h"
#include "kubernetes/nix_image.h"
#include "kubernetes/registry_image.h"
#include "kubernetes/work_queue.h"

namespace nixery::kubernetes {

// Thread-safe.
class EventRecorder {
 public:
  // `identity`: who tells them, of the instances of the controller.
  EventRecorder(const ApiClient& client, std::string identity) : client_(client), identity_(std::move(identity)) {}

  // Remembers what is to be told where `wanted` says something else of the object than its status does, and is no mere
  // progress. At most one of an object waits: the newest.
  void note(const NixImage& image, const PullResult& pull, const Status& wanted);
  // Tells what waits. Throws ApiError for what may pass; it waits on then, under the same name.
  void record(const NixImage& image);
  void forget(const std::string& key);

 private:
  // Events that are still to be told, and how many may be: a flood of them is of no use to anybody.
  struct PendingEvent {
    std::optional<Event> event;
    double allowed = 0;
    Clock::time_point counted;
  };

  const ApiClient& client_;
  const std::string identity_;
  std::mutex mutex_;  // guards what follows; never held while the server is asked
  std::map<std::string, PendingEvent> pending_;
};

}  // namespace nixery::kubernetes
