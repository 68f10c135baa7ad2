// nginx as it is installed and runs on this machine.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "doctor/nginx_configuration.h"
#include "doctor/version.h"
#include "os/user.h"

namespace nixery::doctor {

namespace fs = std::filesystem;

struct Nginx {
  std::string program;  // as it was found; empty: there is none here
  std::optional<Version> version;
  std::string main_file;  // -c of it; empty: nginx's own default
  bool accepted = false;  // nginx -T took the configuration
  std::string said;       // by nginx -T, of what it did not take
  NginxConfiguration configuration;
  std::optional<os::User> user;  // of its worker processes, else of its configuration
  std::string user_origin;       // "its worker processes", "its directive user"
};

// `main_file` is nginx's -c; empty: that of the one nginx that runs, else nginx's default.
Nginx look_at_nginx(std::string main_file, std::chrono::seconds limit);

}  // namespace nixery::doctor
