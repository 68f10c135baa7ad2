// When the last collection began, by two clocks, and whether this one may believe what has passed since then.
//
// A clock that is set wrong must not make everything old. CLOCK_BOOTTIME cannot be set, so elapsed time measured with
// it is reliable. Where it does not know, since the machine was started anew, or another host collected, more than
// eight days are believed if there are not as many among them without a trace: a clock that jumps leaves such a gap, a
// registry that is used leaves none. After a jump, the clock is believed again once it has run on for a day without
// another one; or after another such gap and start, so that a registry where nothing happens is collected, too.
//
// STATE/collected: "<seconds since 1970> <boot id> <seconds since boot> <believed, or doubted> <seconds since a jump>".
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "os/file.h"
#include "tree/blob_store.h"

namespace nixery::maintenance {

struct Run {
  os::Time time;
  std::string boot;                   // the kernel's id of when this machine was started; empty where nobody knows
  std::chrono::seconds since_boot{};  // sleep included
  bool believed = true;
  std::chrono::seconds
      since_jump{};  // while the clock is not believed: for how long it has run on without another jump
};

// Now, on this machine.
Run this_run();

// nullopt where there was none, or what it left cannot be read.
std::optional<Run> last_run(const tree::BlobStore& store);
// Throws Error{storage}.
void remember(const tree::BlobStore& store, const Run& run);

// Sets `now.believed` and `now.since_jump`. Pure. `traces`: times at which something happened, in any order, such as
// those of files; what lies before `last` or after `now` does not matter.
void judge(Run& now, const Run& last, std::vector<os::Time> traces);

// Clocks of hosts that share a registry differ by less. A time further ahead comes from a clock that was wrong.
inline constexpr std::chrono::minutes clock_difference{10};
inline bool is_in_future(os::Time time, os::Time now) {
  return time > now + clock_difference;
}

// What is left of `every` until the next collection. Where there was none yet, or only in the future, that is all of
// it, and counts from the first call on, also for processes to come if STATE can be written.
std::chrono::seconds until_next_run(const tree::BlobStore& store, std::chrono::seconds every);

}  // namespace nixery::maintenance
