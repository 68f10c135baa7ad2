// A queue of objects to reconcile, with times. An object is queued once, however often it is added, and never processed
// twice at the same time; after failures it is delayed by a back-off.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

namespace nixery::kubernetes {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// `least`, doubled for each earlier failure, at most `most`, of which a random part between half and all is taken, so
// that simultaneous failures are not retried simultaneously. `random` is in [0, 1).
milliseconds back_off(unsigned failures, milliseconds least, milliseconds most, double random);
double random_part();  // in [0, 1), thread-safe

// The queue's scheduling, with the time as a parameter. Not thread-safe.
class Schedule {
 public:
  Schedule(milliseconds least, milliseconds most) : least_(least), most_(most) {}

  // Due at `when`, or earlier if it was due earlier. A key that is being processed becomes due after done().
  void add(const std::string& key, Clock::time_point when);
  // Due after its back-off, which grows with each call until forget(). Before `at_least` has passed it does not become
  // due, even if it is added meanwhile: the server asked for that delay.
  void add_after_failure(const std::string& key, Clock::time_point now, double random,
                         milliseconds at_least = milliseconds(0));
  void forget(const std::string& key);

  // The key that has been due longest; it is being processed until done().
  std::optional<std::string> take(Clock::time_point now);
  void done(const std::string& key);
  std::optional<Clock::time_point> next_due() const;

 private:
  void enter(const std::string& key, Clock::time_point when);

  const milliseconds least_, most_;
  std::map<std::string, Clock::time_point> due_;                     // waiting
  std::set<std::pair<Clock::time_point, std::string>> by_time_;      // the same
  std::map<std::string, std::optional<Clock::time_point>> working_;  // being processed, and when due again
  std::map<std::string, unsigned> failures_;
  std::map<std::string, Clock::time_point> not_before_;
};

// Thread-safe.
class WorkQueue {
 public:
  WorkQueue(milliseconds least, milliseconds most) : schedule_(least, most) {}

  void add(const std::string& key, milliseconds delay = milliseconds(0));
  void add_after_failure(const std::string& key, milliseconds at_least = milliseconds(0));
  void forget(const std::string& key);
  // Waits; nullopt once stopped.
  std::optional<std::string> take();
  void done(const std::string& key);
  void stop();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Schedule schedule_;
  bool stopped_ = false;
};

}  // namespace nixery::kubernetes
