// One collection or verification at a time, among all hosts that share the state.
#pragma once

#include <fmt/format.h>

#include <system_error>

#include "error.h"
#include "os/lock.h"
#include "tree/layout.h"

namespace nixery::maintenance {

// Throws Error{bad_config} if there is no tree: a directory that is missing as a whole, such as a disk that is not
// mounted, is neither sound nor garbage.
inline void check_tree_exists(const tree::Layout& layout) {
  std::error_code absent;
  if (!tree::fs::is_directory(layout.tree, absent))
    throw Error(Failure::bad_config, fmt::format("there is no directory {}: set NIXERY_TREE to the one that is served",
                                                 layout.tree.string()));
}

// Throws Error{too_busy} while another process holds it, and Error{bad_config} as above.
inline os::Lock upkeep_lock(const tree::Layout& layout) {
  check_tree_exists(layout);
  if (auto lock = os::Lock::try_lock(layout.lock("upkeep"))) return *std::move(lock);
  throw Error(Failure::too_busy, "another `nixery gc` or `nixery verify` is at work on this registry");
}

}  // namespace nixery::maintenance
