// Text for clients of the registry: plain text (plain_text.h) without the names of this machine's directories.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::text {

struct HiddenDirectory {
  std::filesystem::path path;  // absolute
  std::string name;            // shown instead: "<packages>"
};

// Sets the directories that public_text() hides, each under its path as given and with its symbolic links resolved.
// Not thread-safe: call it before other threads use public_text().
void hide_directories(const std::vector<HiddenDirectory>& directories);

// plain_text() with the path of each hidden directory replaced by its name: "at <packages>/default.nix:47".
// Thread-safe.
std::string public_text(std::string_view text);

}  // namespace nixery::text
