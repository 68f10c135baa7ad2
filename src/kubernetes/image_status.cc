#include "kubernetes/image_status.h"

#include <fmt/format.h>

namespace nixery::kubernetes {

namespace {

using State = PullResult::State;

Condition condition(const NixImage& image, const char* type, const char* status, const std::string& reason,
                    const std::string& message) {
  return {type, status, reason, message, image.generation, ""};
}

}  // namespace

const Condition* find_condition(const ImageStatus& status, std::string_view type) {
  for (const Condition& condition : status.conditions)
    if (condition.type == type) return &condition;
  return nullptr;
}

bool is_progress(const PullResult& pull) {
  return pull.state == State::building || pull.state == State::not_taken;
}

std::optional<PullResult> built_by(const ImageStatus& status) {
  const Condition* condition = find_condition(status, "Built");
  if (!condition || condition->status != "True" || status.digest.empty()) return std::nullopt;
  PullResult pull;
  pull.state = State::built;
  pull.reason = condition->reason;
  pull.digest = status.digest;
  pull.size = status.size.value_or(0);
  pull.layers = status.layers.value_or(0);
  return pull;
}

ImageStatus status_of(const NixImage& image, const PullResult& pull, const std::optional<PullResult>& built,
                      const std::string& reference) {
  ImageStatus status;
  status.observed_generation = image.generation;
  status.reference = reference;
  const auto add = [&](const char* type, const char* state, const std::string& reason, const std::string& message) {
    status.conditions.push_back(condition(image, type, state, reason, message));
  };
  const auto add_result = [&](const PullResult& of) {
    status.digest = of.digest;
    status.size = of.size;
    status.layers = of.layers;
    return fmt::format("{}@{}", reference, of.digest);
  };
  const auto resolved = [&] { add("Resolved", "True", "Resolved", "the packages are known"); };
  switch (pull.state) {
    case State::built: {
      const std::string image_there = add_result(pull);
      resolved();
      add("Built", "True", pull.reason, image_there);
      add("Ready", "True", pull.reason, image_there);
      return status;
    }
    case State::building:
    case State::not_taken:
      add("Resolved", "Unknown", pull.reason, pull.message);
      add("Built", "False", pull.reason, pull.message);
      add("Ready", "False", pull.reason, pull.message);
      return status;
    case State::refused:
      add("Resolved", "False", pull.reason, pull.message);
      add("Built", "False", pull.reason, pull.message);
      add("Ready", "False", pull.reason, pull.message);
      break;
    case State::failed:
      resolved();
      add("Built", "False", pull.reason, pull.message);
      add("Ready", "False", pull.reason, pull.message);
      break;
    case State::unavailable:
      if (built) {
        const std::string image_there = add_result(*built);
        resolved();
        add("Built", "True", built->reason, image_there);
      } else {
        add("Resolved", "Unknown", pull.reason, pull.message);
        add("Built", "Unknown", pull.reason, pull.message);
      }
      add("Ready", "Unknown", pull.reason, pull.message);
      break;
  }
  status.last_error = pull.message;
  return status;
}

}  // namespace nixery::kubernetes
