#include "build/flights.h"

#include <fmt/format.h>

#include "log.h"

namespace nixery::build {

namespace {

using Clock = std::chrono::steady_clock;

Landing crash(const Error& error) {
  return {std::nullopt, {}, false, std::make_shared<Error>(error)};
}

}  // namespace

std::optional<Landing> Flight::landing() const {
  const std::lock_guard lock(mutex_);
  return landing_;
}

std::optional<Landing> Flight::wait_until(Clock::time_point deadline) const {
  std::unique_lock lock(mutex_);
  landed_.wait_until(lock, deadline, [this] { return landing_.has_value(); });
  return landing_;
}

void Flight::on_landing(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!landing_) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

void Flight::fly() {
  const CauseScope scope(cause_);
  try {
    land(work_(progress_));
  } catch (const Error& error) {
    land(crash(error));
  } catch (const std::exception& error) {
    // Its words may name what strangers have no business with.
    log::error("flight failed", {{"error", error.what()}});
    land(crash(Error(Failure::storage, "the registry failed at this: its log says why", error.what())));
  }
}

void Flight::land(Landing landing) {
  std::vector<std::function<void()>> callbacks;
  progress_.enter(Phase::finished);
  {
    const std::lock_guard lock(mutex_);
    landing_ = std::move(landing);
    landed_at_ = Clock::now();
    callbacks.swap(callbacks_);
  }
  landed_.notify_all();
  for (const auto& callback : callbacks) callback();
}

Flights::Flights(FlightLimits limits) : limits_(limits) {
  for (unsigned i = 0; i < limits_.in_the_air; ++i) pilots_.emplace_back([this] { fly_queued(); });
}

Flights::~Flights() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& pilot : pilots_) pilot.join();
  // Nobody flies them any more; whoever waits on them must not wait for ever.
  while (!queue_.empty())
    queue_.pop()->land(crash(Error(Failure::unavailable, "the registry is shutting down: try again")));
}

std::shared_ptr<Flight> Flights::join(const std::string& client, const std::string& key, Work work, Joining* how) {
  std::shared_ptr<Flight> flight, displaced;
  const auto too_busy = [this] {
    return Error(Failure::too_busy,
                 fmt::format("{} images are waiting to be built: try again in a while", queue_.size()));
  };
  std::unique_lock lock(mutex_);
  forget_old(Clock::now());
  if (const auto known = flights_.find(key); known != flights_.end()) {
    if (how) *how = known->second->landing() ? Joining::remembered : Joining::joined;
    return known->second;
  }
  if (how) *how = Joining::began;
  if (queue_.size() >= limits_.queued + (limits_.in_the_air > flying_ ? limits_.in_the_air - flying_ : 0)) {
    displaced = queue_.displace_for(client);
    if (!displaced) throw too_busy();
    flights_.erase(displaced->key());
  }
  flight = std::make_shared<Flight>(key, std::move(work));
  flights_.emplace(key, flight);
  queue_.push(client, flight);
  changed_.notify_all();
  const Error reason = too_busy();
  lock.unlock();
  if (displaced) displaced->land(crash(reason));
  return flight;
}

std::shared_ptr<Flight> Flights::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto known = flights_.find(key);
  return known == flights_.end() || is_old(*known->second, Clock::now()) ? nullptr : known->second;
}

bool Flights::is_old(const Flight& flight, Clock::time_point now) const {
  const std::lock_guard lock(flight.mutex_);
  return flight.landing_ && now - flight.landed_at_ >= limits_.failure_memory;
}

void Flights::forget_old(Clock::time_point now) {
  std::erase_if(flights_, [&](const auto& entry) { return is_old(*entry.second, now); });
}

void Flights::fly_queued() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (closing_) return;
    const auto flight = queue_.pop();
    ++flying_;
    lock.unlock();
    flight->fly();
    lock.lock();
    --flying_;
    changed_.notify_all();
    // A success is in the tree now, and what may pass is worth another try; other failures, and reports,
    // are remembered for a while.
    const Landing landing = *flight->landing();
    if (!landing.report && (!landing.error || landing.error->transient())) flights_.erase(flight->key());
  }
}

void Flights::wait_until_idle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && flying_ == 0; });
}

std::size_t Flights::in_the_air() const {
  const std::lock_guard lock(mutex_);
  return flying_;
}

std::size_t Flights::queued() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

}  // namespace nixery::build
