#include "nix/installation.h"

#include <unistd.h>

#include <cstdlib>
#include <system_error>

namespace nixery::nix {

namespace {

std::string environment(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value && *value ? value : fallback;
}

}  // namespace

fs::path state_directory() {
  return environment("NIX_STATE_DIR", "/nix/var/nix");
}

StoreAccess store_access() {
  const std::string remote = environment("NIX_REMOTE", "auto");
  const std::string socket =
      environment("NIX_DAEMON_SOCKET_PATH", (state_directory() / "daemon-socket/socket").c_str());
  if (remote == "daemon") return {socket, {}};
  if (remote.starts_with("unix://")) return {remote.size() > 7 ? remote.substr(7) : socket, {}};
  if (remote == "local") return {};
  if (remote != "auto") return {{}, remote};
  std::error_code absent;
  if (access(state_directory().c_str(), R_OK | W_OK) != 0 && fs::exists(socket, absent)) return {socket, {}};
  return {};
}

}  // namespace nixery::nix
