// Names from outside (an archive's members, records read back, keys of requests) joined to our own directories.
#pragma once

#include <filesystem>
#include <string_view>

namespace nixery::os {

// True if `name` stays below any directory that it is joined to: a relative path of non-empty parts, none of them "."
// or "..", without a NUL. Does not look at symbolic links.
bool stays_below(std::string_view name);

// directory / name. Throws Error{storage} unless stays_below(name): std::filesystem's own `/` lets an absolute name
// replace the directory.
std::filesystem::path join_below(const std::filesystem::path& directory, std::string_view name);

// Whether `path` is `directory` or below it, by their names alone: neither is normalised.
bool is_below(const std::filesystem::path& path, const std::filesystem::path& directory);

}  // namespace nixery::os
