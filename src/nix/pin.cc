#include "nix/pin.h"

#include <unistd.h>

#include "os/file.h"

namespace nixery::nix {

void pin(const std::filesystem::path& whole, const std::filesystem::path& pinned) {
  os::make_directories(pinned.parent_path());
  // Tens of thousands of small files: one sync of the file system, not one of each.
  const os::Fd fd = os::open_for_reading(whole);
  if (syncfs(fd.get()) != 0) os::throw_errno("sync", whole);
  if (rename(whole.c_str(), pinned.c_str()) != 0) os::throw_errno("move into place", pinned);
}

}  // namespace nixery::nix
