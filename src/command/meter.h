// What /metrics tells beside what was counted: how things are at this moment.
#pragma once

#include <chrono>
#include <string>

#include "build/builder.h"
#include "command/registry_parts.h"
#include "metrics/page.h"
#include "upkeep/survey.h"

namespace nixery::command {

// Thread-safe. `parts` and `builder` must outlive it.
class Meter {
 public:
  Meter(const RegistryParts& parts, const build::Builder& builder, std::string listener);
  metrics::Readings read();

 private:
  const RegistryParts& parts_;
  const build::Builder& builder_;
  const std::string listener_;
  const std::chrono::system_clock::time_point start_ = std::chrono::system_clock::now();
  upkeep::Survey survey_;
};

}  // namespace nixery::command
