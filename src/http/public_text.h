// Text as people who pull may see it: nothing that acts on a terminal, and none of the directories of this machine.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::http {

struct HiddenPlace {
  std::filesystem::path path;  // absolute
  std::string name;            // what stands for it: "<packages>"
};

// The places of a worker, each under its own path and, where that leads through links, under the real one. To be called
// before requests are answered, as it is not thread-safe.
void hide_places(const std::vector<HiddenPlace>& places);

// text::plain_text(), with the name of a hidden place where its path stands: "at <packages>/default.nix:47".
// Thread-safe.
std::string public_text(std::string_view text);

}  // namespace nixery::http
