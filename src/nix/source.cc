#include "nix/source.h"

#include <fnmatch.h>

#include "nix/channel_source.h"
#include "nix/git_source.h"
#include "nix/path_source.h"

namespace nixery::nix {

std::unique_ptr<Source> make_source(const SourceSettings& settings, const fs::path& directory) {
  switch (settings.kind) {
    case SourceSettings::Kind::path: return std::make_unique<PathSource>(settings, directory);
    case SourceSettings::Kind::git: return std::make_unique<GitSource>(settings, directory);
    case SourceSettings::Kind::channel: return std::make_unique<ChannelSource>(settings, directory);
  }
  return nullptr;
}

bool matches_glob(std::string_view text, std::string_view glob) {
  return fnmatch(std::string(glob).c_str(), std::string(text).c_str(), 0) == 0;
}

}  // namespace nixery::nix
