#include "build/flights.h"

#include <fmt/format.h>

#include "log.h"

namespace nixery::build {

namespace {

using Clock = std::chrono::steady_clock;

Landing crash(const Error& error) {
  return {std::nullopt, {}, false, std::make_shared<Error>(error)};
}

// A success is in the tree now, and what may pass is worth another try; other failures, and reports, are remembered for
// a while.
bool is_remembered(const Landing& landing) {
  return landing.report || (landing.error && !landing.error->transient());
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
  Landing landing;
  try {
    landing = work_(progress_);
    if (!landing.error) run_errands(landing);
  } catch (const Error& error) {
    landing = crash(error);
  } catch (const std::exception& error) {
    // Its words may name what strangers have no business with.
    log::error("flight failed", {{"error", error.what()}});
    landing = crash(Error(Failure::storage, "the registry failed at this: its log says why", error.what()));
  }
  land(std::move(landing));
}

void Flight::run_errands(const Landing& landing) {
  for (;;) {
    decltype(errands_) errands;
    {
      const std::lock_guard lock(mutex_);
      is_landing_ = errands_.empty();
      if (is_landing_) return;
      errands.swap(errands_);
    }
    for (const auto& [name, run] : errands) run(landing);
  }
}

bool Flight::add(Errand errand) {
  const std::lock_guard lock(mutex_);
  if (is_landing_) return false;
  if (errands_taken_ < most_errands && errands_.emplace(std::move(errand.name), std::move(errand.run)).second)
    ++errands_taken_;
  return true;
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
  for (unsigned i = 0; i < limits_.in_the_air; ++i) pilots_.emplace_back([this] { fly_dispatched(); });
}

Flights::~Flights() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& pilot : pilots_) pilot.join();
  // Nobody flies them any more; whoever waits on them must not wait for ever.
  while (auto turn = queue_.pop({}, false)) dispatched_.push_back(*std::move(turn));
  for (const FairQueue::Turn& turn : dispatched_)
    turn.flight->land(crash(Error(Failure::unavailable, "the registry is shutting down: try again")));
}

std::shared_ptr<Flight> Flights::join(const std::string& client, const std::string& key, Work work, Joining* how,
                                      Errand errand) {
  std::shared_ptr<Flight> flight, displaced;
  const auto too_busy = [this] {
    return Error(Failure::too_busy,
                 fmt::format("{} images are waiting to be built: try again in a while", queue_.size()));
  };
  std::unique_lock lock(mutex_);
  forget_old(Clock::now());
  auto known = flights_.find(key);
  if (known != flights_.end()) {
    // Whoever is told of its end may ask again before its thread is here to forget it.
    const auto landing = known->second->landing();
    if ((landing && !is_remembered(*landing)) || (errand.run && !known->second->add(std::move(errand)))) {
      flights_.erase(known);
      known = flights_.end();
    }
  }
  if (known != flights_.end()) {
    flight = known->second;
    if (queue_.holds(flight)) {
      queue_.push(client, flight);
      dispatch();  // the last builder may be this client's
    }
    if (how) *how = flight->landing() ? Joining::remembered : Joining::joined;
    return flight;
  }
  if (how) *how = Joining::began;
  const bool flies_at_once = flying_ < limits_.in_the_air && !(is_last_builder() && flying_for_.contains(client));
  if (!flies_at_once && queue_.size() >= limits_.queued) {
    displaced = queue_.displace_for(client);
    if (!displaced) throw too_busy();
    flights_.erase(displaced->key());
  }
  flight = std::make_shared<Flight>(key, std::move(work));
  flights_.emplace(key, flight);
  queue_.push(client, flight);
  dispatch();
  const Error reason = too_busy();
  lock.unlock();
  if (displaced) displaced->land(crash(reason));
  return flight;
}

// Of several: one client that wants all of them would keep everybody else waiting until its slowest build is done.
bool Flights::is_last_builder() const {
  return limits_.in_the_air > 1 && flying_ + 1 == limits_.in_the_air;
}

// Gives free builders to those whose turn it is; the caller holds the mutex.
void Flights::dispatch() {
  while (flying_ < limits_.in_the_air) {
    auto turn = queue_.pop(flying_for_, is_last_builder());
    if (!turn) break;
    ++flying_;
    ++flying_for_[turn->client];
    dispatched_.push_back(*std::move(turn));
  }
  changed_.notify_all();
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

void Flights::fly_dispatched() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closing_ || !dispatched_.empty(); });
    if (closing_) return;
    const auto [client, flight] = std::move(dispatched_.front());
    dispatched_.pop_front();
    lock.unlock();
    flight->fly();
    lock.lock();
    --flying_;
    if (--flying_for_[client] == 0) flying_for_.erase(client);
    if (const auto known = flights_.find(flight->key()); known != flights_.end() && known->second == flight)
      if (!is_remembered(*flight->landing())) flights_.erase(known);
    dispatch();
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
