// The start of the last collection by two clocks, and whether the elapsed time since then is believable.
//
// A clock that is set wrong must not make everything old. CLOCK_BOOTTIME cannot be set, so elapsed time measured with
// it is reliable. After a reboot, or if another host collected, it is unknown. Then more than eight days are believed
// only without a gap of as many days in the recorded activity: a clock jump leaves such a gap, a used registry does
// not. After a jump, the clock is believed again when it has run for a day without another jump, or after another such
// gap and reboot, so that an idle registry is collected, too.
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
  std::string boot;                   // the kernel's boot id; empty if unknown
  std::chrono::seconds since_boot{};  // sleep included
  bool believed = true;
  std::chrono::seconds since_jump{};  // while the clock is not believed: time since the last jump
};

// Now, on this machine.
Run this_run();

// nullopt if there was none or its record cannot be read.
std::optional<Run> last_run(const tree::BlobStore& store);
// Throws Error{storage}.
void remember(const tree::BlobStore& store, const Run& run);

// Sets `now.believed` and `now.since_jump`. Pure. `traces`: times of activity, such as those of files, in any order;
// times before `last` or after `now` are ignored.
void judge(Run& now, const Run& last, std::vector<os::Time> traces);

// Clocks of hosts that share a registry differ by less. A time further ahead comes from a wrong clock.
inline constexpr std::chrono::minutes clock_difference{10};
inline bool is_in_future(os::Time time, os::Time now) {
  return time > now + clock_difference;
}

// The time until the next collection. Without an earlier one, or with one in the future, it is `every`, counted from
// the first call, also for later processes if STATE is writable.
std::chrono::seconds until_next_run(const tree::BlobStore& store, std::chrono::seconds every);

}  // namespace nixery::maintenance
