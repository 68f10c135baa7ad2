#include "command/settings.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "command/terminal_style.h"
#include "error.h"
#include "os/file.h"
#include "os/user.h"
#include "settings_file.h"

namespace nixery::command {

namespace {

void act_as_owner(const std::filesystem::path& state) {
  struct stat status {};
  if (geteuid() != 0 || stat(state.c_str(), &status) != 0 || status.st_uid == 0) return;
  const auto owner = os::with_groups_of_running(os::user_of(status.st_uid), "nixery");
  if (!os::can_become(owner))
    throw Error(Failure::unavailable, fmt::format("{} belongs to {}, and this root user cannot change to other users: "
                                                  "run this as {}, so that the worker can open the files made there",
                                                  state.string(), owner.name, owner.name));
  os::become(owner);
  umask(022);  // like the worker's: nginx must be able to read the tree
  setenv("USER", owner.name.c_str(), 1);
  setenv("LOGNAME", owner.name.c_str(), 1);
  if (!owner.home.empty()) setenv("HOME", owner.home.c_str(), 1);
  fmt::print(stderr, "{} acting as {}, the owner of {}\n", TerminalStyle::of(STDERR_FILENO).dim("nixery:"), owner.name,
             state.string());
}

}  // namespace

void take_settings_file(const Arguments& arguments) {
  const auto file = arguments.value("--settings");
  if (!file) return;
  const auto text = os::read_if_exists(std::string(*file));
  if (!text) throw Misuse{fmt::format("--settings: the file {} does not exist", *file)};
  for (const auto& [name, value] : parse_settings_file(*text)) setenv(name.c_str(), value.c_str(), 1);
}

LoadedConfig load_settings(const Arguments& arguments) {
  take_settings_file(arguments);
  LoadedConfig loaded = load_config([](const char* name) { return std::getenv(name); });
  log::set_level(loaded.config.log_level);
  // It may hold a password, and no child process needs it.
  unsetenv("NIXERY_PKGS_REPO");
  return loaded;
}

LoadedConfig load_settings_as_worker(const Arguments& arguments) {
  LoadedConfig loaded = load_settings(arguments);
  act_as_owner(loaded.config.state);
  return loaded;
}

std::vector<std::string> strange_settings_of_environment(const std::vector<Setting>& known) {
  std::vector<std::string> names;
  for (char** variable = environ; *variable; ++variable) {
    const std::string_view text = *variable;
    names.emplace_back(text.substr(0, text.find('=')));
  }
  return strange_settings(known, names);
}

}  // namespace nixery::command
