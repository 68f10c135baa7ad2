// One build per key: whoever asks for an image that is being built joins the flight that is in the air.
//
// A flight belongs to nobody's request. It runs on a thread of ours, goes on when every client has left, and its result
// is published for whoever asks next. Between processes and hosts, a lock file per key keeps builds single.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "build/fair_queue.h"
#include "build/progress.h"
#include "cause.h"
#include "error.h"
#include "image/digest.h"

namespace nixery::build {

// How a flight ended.
struct Landing {
  std::optional<image::Digest> digest;             // of the manifest, or the blob, that is in the tree now
  std::string revision;                            // of the package set, for a manifest
  bool moving = false;                             // whether its tag may stand for another revision tomorrow
  std::shared_ptr<const Error> error;              // set where neither `digest` nor `report` is
  std::shared_ptr<const std::string> report = {};  // of a flight that only looked (planner.h)
};

using Work = std::function<Landing(Progress&)>;

// What somebody who joins a flight wants of it besides: done on its thread, after it has succeeded and before it lands,
// once for each `name`. Must not throw.
struct Errand {
  std::string name;
  std::function<void(const Landing&)> run;
};
// Of one flight, at most: further ones are not run.
inline constexpr std::size_t most_errands = 1000;

class Flight {
 public:
  Flight(std::string key, Work work) : key_(std::move(key)), work_(std::move(work)) {}

  const std::string& key() const { return key_; }
  const Progress& progress() const { return progress_; }

  // nullopt while it is in the air.
  std::optional<Landing> landing() const;
  std::optional<Landing> wait_until(std::chrono::steady_clock::time_point deadline) const;
  // Calls `callback` once, on landing, from the landing thread; at once if it has landed.
  void on_landing(std::function<void()> callback);

 private:
  friend class Flights;
  void fly();
  void run_errands(const Landing& landing);
  // False where it is too late, as it succeeds just now.
  bool add(Errand errand);
  void land(Landing landing);

  const std::string key_;
  const Work work_;
  const Cause cause_ = current_cause();  // of whoever began it
  Progress progress_;
  mutable std::mutex mutex_;  // guards what follows
  mutable std::condition_variable landed_;
  std::optional<Landing> landing_;
  std::chrono::steady_clock::time_point landed_at_{};
  std::vector<std::function<void()>> callbacks_;
  std::map<std::string, std::function<void(const Landing&)>> errands_;  // by name
  std::size_t errands_taken_ = 0;
  bool is_landing_ = false;  // no errand is run any more
};

// How join() came by its flight.
enum class Joining { began, joined, remembered };

struct FlightLimits {
  unsigned in_the_air = 2;
  unsigned queued = 100;
  std::chrono::seconds failure_memory{30};  // a report is remembered as long
};

// Thread-safe.
class Flights {
 public:
  explicit Flights(FlightLimits limits);
  ~Flights();  // waits for the flights in the air

  // The flight of that key: the one in the air, one that failed just now, or a new one that will do `work` when it is
  // the turn of `client` (client_of_address()), or of another who joins it before. Throws Error{too_busy} where the
  // queue is full; one who has far more in it than others makes room for them, and learns from the landing that it was
  // too busy. `how` may be null. `errand` is for a flight that was begun before, and may be empty.
  std::shared_ptr<Flight> join(const std::string& client, const std::string& key, Work work, Joining* how = nullptr,
                               Errand errand = {});

  // The one of that key that is queued, in the air, or remembered; else null.
  std::shared_ptr<Flight> find(const std::string& key) const;

  void wait_until_idle();
  std::size_t in_the_air() const;
  std::size_t queued() const;

 private:
  void dispatch();
  bool is_last_builder() const;
  void fly_dispatched();
  bool is_old(const Flight& flight, std::chrono::steady_clock::time_point now) const;
  void forget_old(std::chrono::steady_clock::time_point now);

  const FlightLimits limits_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::map<std::string, std::shared_ptr<Flight>> flights_;  // by key: queued, in the air, or failed just now
  FairQueue queue_;
  std::deque<FairQueue::Turn> dispatched_;  // in the air, but for a thread
  FairQueue::InTheAir flying_for_;
  std::size_t flying_ = 0;  // those dispatched among them
  bool closing_ = false;
  std::vector<std::thread> pilots_;
};

}  // namespace nixery::build
