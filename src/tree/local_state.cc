#include "tree/local_state.h"

#include <fmt/format.h>

#include "os/path.h"

namespace nixery::tree {

fs::path LocalState::log(std::string_view key) const {
  return os::join_below(logs(), fmt::format("{}.log", key));
}

fs::path LocalState::gc_roots(std::string_view key) const {
  return os::join_below(gc_roots(), key);
}

}  // namespace nixery::tree
