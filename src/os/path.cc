#include "os/path.h"

#include <fmt/format.h>

#include "error.h"

namespace nixery::os {

bool stays_below(std::string_view name) {
  if (name.find('\0') != name.npos) return false;
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = end + 1;
  }
  return true;
}

std::filesystem::path join_below(const std::filesystem::path& directory, std::string_view name) {
  if (!stays_below(name))
    throw Error(Failure::storage, fmt::format("'{}' is no name for a file below {}", name, directory.string()));
  return directory / name;
}

bool is_below(const std::filesystem::path& path, const std::filesystem::path& directory) {
  const std::filesystem::path relative = path.lexically_relative(directory);
  return !relative.empty() && *relative.begin() != "..";
}

}  // namespace nixery::os
