#include "http/pending_requests.h"

#include <algorithm>

#include "http/answers.h"
#include "log.h"

namespace nixery::http {

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

PendingRequests::PendingRequests(const Registry& registry, std::size_t capacity, metrics::Gauge& waiting)
    : registry_(registry), capacity_(capacity), waiting_(waiting), thread_([this] { run(); }) {}

PendingRequests::~PendingRequests() {
  {
    const std::lock_guard lock(wakeup_->mutex);
    closing_ = true;
  }
  wakeup_->changed.notify_all();
  thread_.join();
  for (PendingRequest& request : requests_) answer(request);
}

void PendingRequests::answer(PendingRequest& request) const {
  const CauseScope scope(request.waiting.request.cause);
  try {
    request.exchange.answer(registry_.resume(request.waiting));
  } catch (const std::exception& error) {
    log::error("an answer broke off", {{"error", error.what()}});
  }
}

void PendingRequests::add(Exchange exchange, Waiting waiting) {
  const auto job = waiting.job;
  exchange.waits();
  {
    const std::lock_guard lock(wakeup_->mutex);
    if (requests_.size() < capacity_ && !closing_) {
      requests_.push_back({std::move(exchange), std::move(waiting)});
      waiting_.set(requests_.size());
      wakeup_->pending = true;  // the attendant's next deadline may be this one
    }
  }
  if (exchange.pending()) {
    exchange.answer(
        answer_error(Error(Failure::too_busy, "too many requests wait for images to be built: try again in a while")));
    return;
  }
  wakeup_->changed.notify_one();
  job->on_finished([wakeup = wakeup_] {
    {
      const std::lock_guard lock(wakeup->mutex);
      wakeup->pending = true;
    }
    wakeup->changed.notify_one();
  });
}

std::size_t PendingRequests::size() const {
  const std::lock_guard lock(wakeup_->mutex);
  return requests_.size();
}

// Those whose wait is over; the caller holds the mutex.
std::list<PendingRequests::PendingRequest> PendingRequests::take_finished() {
  std::list<PendingRequest> take_finished;
  const auto now = Clock::now();
  for (auto request = requests_.begin(); request != requests_.end();) {
    const auto next = std::next(request);
    if (request->waiting.deadline <= now || request->waiting.job->finished())
      take_finished.splice(take_finished.end(), requests_, request);
    request = next;
  }
  waiting_.set(requests_.size());
  return take_finished;
}

void PendingRequests::run() {
  std::unique_lock lock(wakeup_->mutex);
  for (;;) {
    auto next_deadline = Clock::time_point::max();
    for (const PendingRequest& request : requests_) next_deadline = std::min(next_deadline, request.waiting.deadline);
    const auto awake = [this] { return closing_ || wakeup_->pending; };
    if (next_deadline == Clock::time_point::max()) {
      wakeup_->changed.wait(lock, awake);
    } else {
      wakeup_->changed.wait_until(lock, next_deadline, awake);
    }
    if (closing_) return;
    wakeup_->pending = false;
    auto done = take_finished();
    lock.unlock();
    for (PendingRequest& request : done) answer(request);
    done.clear();
    lock.lock();
  }
}

}  // namespace nixery::http
