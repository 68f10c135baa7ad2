// One collection or verification at a time, among all hosts that share the state.
#pragma once

#include "error.h"
#include "os/lock.h"
#include "tree/layout.h"

namespace nixery::upkeep {

// Throws Error{too_busy} while another has it.
inline os::Lock upkeep_lock(const tree::Layout& layout) {
  if (auto lock = os::Lock::try_lock(layout.lock("upkeep"))) return *std::move(lock);
  throw Error(Failure::too_busy, "another `nixery gc` or `nixery verify` is at work on this registry");
}

}  // namespace nixery::upkeep
