#include "maintenance/findings.h"

#include <unistd.h>

#include <cerrno>

#include "os/file.h"

namespace nixery::maintenance {

namespace fs = std::filesystem;

void remove_file(const fs::path& file) {
  if (unlink(file.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) os::throw_errno("remove", file);
}

void remove_entry(const fs::path& path) {
  std::error_code code;
  fs::remove_all(path, code);
  if (code) throw Error(Failure::storage, fmt::format("cannot remove {}: {}", path.string(), code.message()));
}

}  // namespace nixery::maintenance
