#include "reference/platform.h"

namespace nixery::reference {

std::optional<Platform> platform_of_meta_package(std::string_view name) {
  for (const Platform& platform : platforms)
    if (platform.meta_package == name) return platform;
  return std::nullopt;
}

Platform host_platform() {
#if defined(__aarch64__)
  return platforms[1];
#else
  return platforms[0];
#endif
}

}  // namespace nixery::reference
