// The Nix installation of child processes: its state directory, and whether nix-daemon builds.
#pragma once

#include <filesystem>
#include <string>

namespace nixery::nix {

namespace fs = std::filesystem;

fs::path state_directory();  // NIX_STATE_DIR, or /nix/var/nix

// Nix's choice if NIX_REMOTE is unset (openStore): directly if the store is writable, else the daemon.
struct StoreAccess {
  std::string daemon_socket;  // empty: none is used
  std::string other;          // a store of another kind, as NIX_REMOTE names it
};
StoreAccess store_access();

}  // namespace nixery::nix
