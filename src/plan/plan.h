// Which store paths travel together: closure -> layers. A pure function of its arguments; the same closure and
// settings give the same plan on every host and in every process.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "store/closure.h"

namespace nixery::plan {

// A number that goes into every layer key's image: raise it when the same input would give another plan.
inline constexpr int planner_version = 1;

struct Settings {
  unsigned max_layers = 99;                      // at least 1
  std::uint64_t min_layer_size = 4u << 20;       // bytes of NAR; smaller groups are merged
  std::map<std::string, std::uint64_t> popularity;  // package name (store path name without version) -> count; may be empty
};

struct Layer {
  std::vector<std::uint32_t> paths;  // indices into Closure::paths, ascending, never empty
  std::uint64_t nar_size = 0;
  std::string reason;                // for a person: "alone: 41 MB", "with openssl-3.0: only it needs them"
};

// Every path of the closure is in exactly one layer. `roots` are indices of the packages' own outputs.
// Layers come in a stable order, what changes least first.
std::vector<Layer> plan_layers(const store::Closure& closure, const std::vector<std::uint32_t>& roots,
                               const Settings& settings);

}  // namespace nixery::plan
