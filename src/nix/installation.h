// Which Nix a process of ours gets: where its state lies, and whether nix-daemon builds for us.
#pragma once

#include <filesystem>
#include <string>

namespace nixery::nix {

namespace fs = std::filesystem;

fs::path state_directory();  // NIX_STATE_DIR, or /nix/var/nix

// How Nix chooses where NIX_REMOTE leaves it open (openStore): its own hands where it may write, else the daemon.
struct StoreAccess {
  std::string daemon_socket;  // empty: none is used
  std::string other;          // a store of another kind, as NIX_REMOTE names it
};
StoreAccess store_access();

}  // namespace nixery::nix
