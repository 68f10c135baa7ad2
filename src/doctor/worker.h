// As whom the worker runs, where nobody says so: by what runs, by systemd's unit, and last by who owns STATE.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "doctor/systemd_unit.h"
#include "os/user.h"

namespace nixery::doctor {

inline constexpr const char* unit_name = "nixery.service";

struct Worker {
  os::User user;
  std::string origin;  // "as unit nixery.service says"; empty: it is who asks
};

// `unit` is this worker's, if it has one.
Worker find_worker(const fs::path& state, const std::optional<ServiceUnit>& unit);

}  // namespace nixery::doctor
