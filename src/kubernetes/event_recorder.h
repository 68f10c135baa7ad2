// Records Events of NixImages: one for each relevant change, after the status is written, with a rate limit for each
// object.
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
  // `identity`: of this instance of the controller.
  EventRecorder(const ApiClient& client, std::string identity) : client_(client), identity_(std::move(identity)) {}

  // Notes an event if `wanted` differs from the object's status by more than progress. Keeps only the newest pending
  // event of an object.
  void note(const NixImage& image, const PullResult& pull, const ImageStatus& wanted);
  // Records the pending event. Throws ApiError for a transient failure; the event stays pending under the same name.
  void record(const NixImage& image);
  void forget(const std::string& key);

 private:
  // The pending event of an object, and how many more it may have (a token bucket).
  struct PendingEvent {
    std::optional<Event> event;
    double allowed = 0;
    Clock::time_point counted;
  };

  const ApiClient& client_;
  const std::string identity_;
  std::mutex mutex_;  // guards what follows; never held during a request
  std::map<std::string, PendingEvent> pending_;
};

}  // namespace nixery::kubernetes
