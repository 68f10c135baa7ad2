#include "nix/git_mirror.h"

#include <algorithm>
#include <string_view>
#include <system_error>
#include <vector>

namespace nixery::nix {

namespace {

namespace fs = std::filesystem;

// git's own limits (gc.autoPackLimit, gc.auto): it takes one of 256 directories for all.
constexpr std::ptrdiff_t most_packs = 50, most_objects_of_a_directory = 6700 / 256;

template <typename Chosen>
void remove_if(const fs::path& dir, const Chosen& chosen) {
  std::error_code code, ignored;
  std::vector<fs::path> found;
  for (fs::directory_iterator entry(dir, code), end; !code && entry != end; entry.increment(code))
    if (chosen(entry->path().filename().native())) found.push_back(entry->path());
  for (const fs::path& path : found) fs::remove_all(path, ignored);
}

bool is_part(std::string_view name) {
  return name.starts_with("tmp_") || name.starts_with(".tmp-");
}

bool is_lock(std::string_view name) {
  return name.ends_with(".lock");
}

std::ptrdiff_t count(const fs::path& dir, std::string_view suffix) {
  std::error_code code;
  std::ptrdiff_t count = 0;
  for (fs::directory_iterator entry(dir, code), end; !code && entry != end; entry.increment(code))
    if (entry->path().filename().native().ends_with(suffix)) ++count;
  return count;
}

}  // namespace

void remove_leftovers_of_git(const fs::path& mirror) {
  remove_if(mirror, is_lock);
  remove_if(mirror / "refs", is_lock);
  std::error_code code, ignored;
  std::vector<fs::path> directories;
  for (fs::recursive_directory_iterator entry(mirror / "refs", code), end; !code && entry != end; entry.increment(code))
    if (entry->is_directory(ignored)) directories.push_back(entry->path());
  for (const fs::path& dir : directories) remove_if(dir, is_lock);
  directories.clear();
  for (fs::directory_iterator entry(mirror / "objects", code), end; !code && entry != end; entry.increment(code))
    directories.push_back(entry->path());
  for (const fs::path& dir : directories) remove_if(dir, is_part);
  remove_if(mirror / "objects", is_part);
}

bool needs_repacking(const fs::path& mirror) {
  return count(mirror / "objects/pack", ".pack") > most_packs ||
         count(mirror / "objects/17", "") > most_objects_of_a_directory;
}

}  // namespace nixery::nix
