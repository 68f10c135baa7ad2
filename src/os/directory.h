// Walking one directory while others change it.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <type_traits>

#include "error.h"

namespace nixery::os {

// Calls `visit` with each directory_entry, in no particular order. A `visit` that returns bool ends the walk with
// false. A missing directory has no entries. Throws Error{storage} if the directory cannot be read.
template <typename Visit>
void for_each_entry(const std::filesystem::path& dir, Visit&& visit) {
  std::error_code code;
  std::filesystem::directory_iterator entry(dir, code), end;
  for (; !code && entry != end; entry.increment(code)) {
    if constexpr (std::is_void_v<decltype(visit(*entry))>)
      visit(*entry);
    else if (!visit(*entry))
      return;
  }
  if (code && code != std::errc::no_such_file_or_directory && code != std::errc::not_a_directory)
    throw Error(Failure::storage, fmt::format("cannot list {}: {}", dir.string(), code.message()));
}

// Removes `dir` and its parents as long as they are empty, up to `root`.
inline void remove_empty(std::filesystem::path dir, const std::filesystem::path& root) {
  while (dir != root && rmdir(dir.c_str()) == 0) dir = dir.parent_path();
}

}  // namespace nixery::os
