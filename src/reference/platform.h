// The supported platforms: Nix's name, OCI's name and the meta-package of each.
#pragma once

#include <optional>
#include <string_view>

namespace nixery::reference {

struct Platform {
  std::string_view meta_package;  // "arm64": also OCI's `architecture`
  std::string_view nix_system;    // "aarch64-linux"
  std::string_view os;            // OCI's `os`
  std::string_view variant;       // OCI's `variant`; may be empty

  std::string_view architecture() const { return meta_package; }
  bool operator==(const Platform&) const = default;
};

inline constexpr Platform platforms[] = {
    {"amd64", "x86_64-linux", "linux", ""},
    {"arm64", "aarch64-linux", "linux", "v8"},
};

std::optional<Platform> platform_of_meta_package(std::string_view name);
// The platform that this program was compiled for; amd64 if it is not in the table.
Platform host_platform();

}  // namespace nixery::reference
