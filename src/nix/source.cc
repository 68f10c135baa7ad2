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

std::string without_credentials(std::string_view url) {
  const auto scheme = url.find("://");
  if (scheme == url.npos) return std::string(url);
  const auto host = scheme + 3;
  const auto path = std::min(url.find('/', host), url.size());
  const auto at = url.substr(host, path - host).rfind('@');
  if (at == url.npos) return std::string(url);
  return std::string(url.substr(0, host)) + std::string(url.substr(host + at + 1));
}

bool matches_glob(std::string_view text, std::string_view glob) {
  return fnmatch(std::string(glob).c_str(), std::string(text).c_str(), 0) == 0;
}

}  // namespace nixery::nix
