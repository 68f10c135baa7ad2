#include "kubernetes/event_recorder.h"

#include <fmt/format.h>

#include <algorithm>

#include "kubernetes/image_status.h"
#include "log.h"

namespace nixery::kubernetes {

namespace {

constexpr double most_events = 25;              // burst of events of one object
constexpr double events_per_second = 1.0 / 60;  // after the burst

// Whether a retry cannot succeed.
bool is_final(const ApiError& error) {
  return error.status == 400 || error.status == 403 || error.status == 422;
}

}  // namespace

void EventRecorder::note(const NixImage& image, const PullResult& pull, const ImageStatus& wanted) {
  if (is_progress(pull)) return;
  const Condition *before = find_condition(image.status, "Ready"), *now = find_condition(wanted, "Ready");
  if (before && before->status == now->status && before->reason == now->reason && before->message == now->message)
    return;
  const std::string note = pull.state == PullResult::State::built ? "built " + now->message : now->message;
  const std::lock_guard lock(mutex_);
  PendingEvent& pending = pending_[image.key()];
  if (pending.event && pending.event->reason == now->reason && pending.event->note == note) return;
  const auto time = Clock::now();
  if (pending.counted == Clock::time_point()) {
    pending.allowed = most_events;
  } else {
    const double passed = std::chrono::duration<double>(time - pending.counted).count();
    pending.allowed = std::min(most_events, pending.allowed + passed * events_per_second);
  }
  pending.counted = time;
  if (pending.allowed < 1) return;
  pending.allowed -= 1;
  pending.event = event_of(image, pull.state != PullResult::State::built, now->reason, note);
}

void EventRecorder::record(const NixImage& image) {
  std::optional<Event> event;
  {
    const std::lock_guard lock(mutex_);
    const auto at = pending_.find(image.key());
    if (at == pending_.end() || !at->second.event) return;
    event = at->second.event;
  }
  try {
    client_.request("POST", fmt::format("/apis/events.k8s.io/v1/namespaces/{}/events", image.namespace_name),
                    event_json(image, *event, identity_));
  } catch (const ApiError& error) {
    if (error.status != 409 && !is_final(error)) throw;  // 409: an earlier attempt succeeded
    if (error.status != 409) log::warning("cannot record an event", {{"image", image.key()}, {"error", error.what()}});
  }
  const std::lock_guard lock(mutex_);
  if (const auto at = pending_.find(image.key());
      at != pending_.end() && at->second.event && at->second.event->name == event->name)
    at->second.event.reset();
}

void EventRecorder::forget(const std::string& key) {
  const std::lock_guard lock(mutex_);
  pending_.erase(key);
}

}  // namespace nixery::kubernetes
