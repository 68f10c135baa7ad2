// A set-up as far as it is known before it is checked.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "config.h"
#include "doctor/nginx.h"
#include "doctor/systemd_unit.h"
#include "os/process.h"
#include "os/user.h"

namespace nixery::doctor {

namespace fs = std::filesystem;

struct Setup {
  LoadedConfig settings;
  os::User worker;                    // who runs `nixery serve`
  std::optional<ServiceUnit> unit;    // by which systemd runs it, if these are its settings
  Nginx nginx;                        // as it is installed here, if it is
  std::string url;                    // where the registry is asked; empty: where nginx's configuration says
  std::chrono::seconds deadline{20};  // of a check

  const Config& config() const { return settings.config; }
};

// Checks may outlive their caller, so they share the setup.
using SharedSetup = std::shared_ptr<const Setup>;

// A program to be run within os::act_as(worker): with a home of the worker's, and no longer than the deadline.
os::Command command_for(const Setup& setup, std::vector<std::string> argv);

}  // namespace nixery::doctor
