// When the last collection began, by two clocks, and whether this one may believe what has passed since then.
//
// A clock that is set wrong must not make everything old. CLOCK_BOOTTIME cannot be set: what it says has passed, has.
// Where it does not know, since the machine was started anew, or another host collected, more than eight days are
// believed if there are not as many among them without a trace: a clock that jumps leaves such a gap, a registry that
// is used leaves none. Where it was not believed the last time it is this time, so that a registry where nothing
// happens is collected, too.
//
// STATE/collected: "<seconds since 1970> <boot id> <seconds since then> <believed, or not>".
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "os/file.h"
#include "tree/layout.h"

namespace nixery::maintenance {

struct Run {
  os::Time time;
  std::string boot;                   // the kernel's id of when this machine was started; empty where nobody knows
  std::chrono::seconds since_boot{};  // sleep included
  bool believed = true;
};

// Now, on this machine.
Run this_run();

// nullopt where there was none, or what it left cannot be read.
std::optional<Run> last_run(const tree::Layout& layout);
// Throws Error{storage}.
void remember(const tree::Layout& layout, const Run& run);

// Pure. `traces`: times at which something happened, in any order, such as those of files; what lies before `last` or
// after `now` does not matter.
bool is_believable(const Run& last, const Run& now, std::vector<os::Time> traces);

// What is left of `every` until the next collection. Where there was none yet, that is all of it, and counts from the
// first call on, also for processes to come.
std::chrono::seconds until_next_run(const tree::Layout& layout, std::chrono::seconds every);

}  // namespace nixery::maintenance
