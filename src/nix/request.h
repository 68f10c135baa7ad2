// The request to resolve.nix, passed in files: one argument of a process holds 128 KiB at most, and NIXERY_BLOCKED has
// no such limit.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "nix/nix.h"
#include "os/file.h"
#include "reference/platform.h"
#include "reference/reference.h"

namespace nixery::nix {

enum class Examples { wanted, unwanted };  // of packages inside a set, if a set was requested

// The JSON that resolve.nix describes.
std::string request_json(const NixSettings& settings, const std::vector<reference::AttributePath>& names,
                         const reference::Platform& platform, Examples examples);

// Temporary files; the destructor removes them.
class RequestFiles {
 public:
  // Creates them in `directory`. Throws Error{storage}.
  RequestFiles(const std::filesystem::path& directory, std::string_view request, const NixpkgsSettings& nixpkgs);

  // "-I", "nixery-request=…" and, if there is a configuration, "-I", "nixery-config=…".
  std::vector<std::string> arguments() const;

 private:
  os::PendingFile request_;
  std::optional<os::PendingFile> config_;
};

}  // namespace nixery::nix
