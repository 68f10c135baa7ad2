#include "http/waiting_room.h"

#include <algorithm>

#include "http/answers.h"
#include "log.h"

namespace nixery::http {

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

WaitingRoom::WaitingRoom(const Registry& registry, std::size_t capacity, metrics::Gauge& waiting)
    : registry_(registry), capacity_(capacity), waiting_(waiting), attendant_([this] { attend(); }) {}

WaitingRoom::~WaitingRoom() {
  {
    const std::lock_guard lock(bell_->mutex);
    closing_ = true;
  }
  bell_->rung.notify_all();
  attendant_.join();
  for (Guest& guest : guests_) answer(guest);
}

void WaitingRoom::answer(Guest& guest) const {
  const CauseScope scope(guest.waiting.request.cause);
  try {
    guest.exchange.answer(registry_.resume(guest.waiting));
  } catch (const std::exception& error) {
    log::error("an answer broke off", {{"error", error.what()}});
  }
}

void WaitingRoom::enter(Exchange exchange, Waiting waiting) {
  const auto flight = waiting.flight;
  exchange.waits();
  {
    const std::lock_guard lock(bell_->mutex);
    if (guests_.size() < capacity_ && !closing_) {
      guests_.push_back({std::move(exchange), std::move(waiting)});
      waiting_.set(guests_.size());
      bell_->ringing = true;  // the attendant's next deadline may be this one
    }
  }
  if (exchange.pending()) {
    exchange.answer(
        answer_error(Error(Failure::too_busy, "too many requests wait for images to be built: try again in a while")));
    return;
  }
  bell_->rung.notify_one();
  flight->on_landing([bell = bell_] {
    {
      const std::lock_guard lock(bell->mutex);
      bell->ringing = true;
    }
    bell->rung.notify_one();
  });
}

std::size_t WaitingRoom::size() const {
  const std::lock_guard lock(bell_->mutex);
  return guests_.size();
}

// Those whose wait is over; the caller holds the mutex.
std::list<WaitingRoom::Guest> WaitingRoom::leaving() {
  std::list<Guest> leaving;
  const auto now = Clock::now();
  for (auto guest = guests_.begin(); guest != guests_.end();) {
    const auto next = std::next(guest);
    if (guest->waiting.deadline <= now || guest->waiting.flight->landing())
      leaving.splice(leaving.end(), guests_, guest);
    guest = next;
  }
  waiting_.set(guests_.size());
  return leaving;
}

void WaitingRoom::attend() {
  std::unique_lock lock(bell_->mutex);
  for (;;) {
    auto next_deadline = Clock::time_point::max();
    for (const Guest& guest : guests_) next_deadline = std::min(next_deadline, guest.waiting.deadline);
    const auto awake = [this] { return closing_ || bell_->ringing; };
    if (next_deadline == Clock::time_point::max()) {
      bell_->rung.wait(lock, awake);
    } else {
      bell_->rung.wait_until(lock, next_deadline, awake);
    }
    if (closing_) return;
    bell_->ringing = false;
    auto done = leaving();
    lock.unlock();
    for (Guest& guest : done) answer(guest);
    done.clear();
    lock.lock();
  }
}

}  // namespace nixery::http
