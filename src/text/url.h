// URLs as text. Pure.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace nixery::text {

// "https://user:secret@host/x" -> "https://host/x": what may be shown and stored. Other text stays as it is.
inline std::string without_credentials(std::string_view url) {
  const auto scheme = url.find("://");
  if (scheme == url.npos) return std::string(url);
  const auto host = scheme + 3;
  const auto path = std::min(url.find('/', host), url.size());
  const auto at = url.substr(host, path - host).rfind('@');
  if (at == url.npos) return std::string(url);
  return std::string(url.substr(0, host)) + std::string(url.substr(host + at + 1));
}

}  // namespace nixery::text
