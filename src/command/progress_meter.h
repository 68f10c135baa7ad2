// The values of /metrics that are no counters: the present state.
#pragma once

#include <chrono>
#include <string>

#include "command/registry_parts.h"
#include "maintenance/tree_size_monitor.h"
#include "metrics/page.h"
#include "pipeline/builder.h"

namespace nixery::command {

// Thread-safe. `parts` and `builder` must outlive it.
class ProgressMeter {
 public:
  ProgressMeter(const RegistryParts& parts, const pipeline::Builder& builder, std::string listener);
  metrics::Readings read();

 private:
  const RegistryParts& parts_;
  const pipeline::Builder& builder_;
  const std::string listener_;
  const std::chrono::system_clock::time_point start_ = std::chrono::system_clock::now();
  maintenance::TreeSizeMonitor size_monitor_;
};

}  // namespace nixery::command
