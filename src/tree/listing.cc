#include "tree/listing.h"

#include <algorithm>

#include "os/directory.h"
#include "reference/reference.h"

namespace nixery::tree {

namespace {

// As the web server sees it: only the digest counts, and what is served is the tree's own manifest of that digest.
bool leads_to_manifest(const Layout& layout, const fs::path& link) {
  std::error_code code;
  const fs::path target = fs::read_symlink(link, code);
  if (code || target.parent_path().parent_path().filename() != "manifests") return false;
  const auto digest = Layout::digest_of_tag_target(target);
  return digest && fs::is_directory(layout.manifest_dir(*digest), code);
}

template <typename Visit>
void for_each_tag(const Layout& layout, const fs::path& dir, Visit&& visit) {
  os::for_each_entry(dir, [&](const fs::directory_entry& entry) {
    std::string tag = entry.path().filename().string();
    if (!reference::is_tag(tag) || !leads_to_manifest(layout, entry.path())) return true;
    return visit(std::move(tag));
  });
}

fs::path tags_dir(const Layout& layout, std::string_view repository) {
  return layout.tag(repository, "x").parent_path();
}

bool has_tags(const Layout& layout, std::string_view repository) {
  bool any = false;
  for_each_tag(layout, tags_dir(layout, repository), [&](std::string&&) { return !(any = true); });
  return any;
}

// `prefix` is empty or ends with a slash.
void collect(const Layout& layout, const fs::path& dir, const std::string& prefix, std::vector<std::string>& found) {
  os::for_each_entry(dir, [&](const fs::directory_entry& entry) {
    std::error_code gone;
    // Links are not followed: none of ours is a directory's, and they could lead round in circles.
    if (entry.is_symlink(gone) || !entry.is_directory(gone)) return true;
    const std::string name = prefix + entry.path().filename().string();
    if (!reference::is_repository(name)) return true;  // _tags is none
    if (has_tags(layout, name)) found.push_back(name);
    collect(layout, entry.path(), name + "/", found);
    return true;
  });
}

// A directory that changes while it is read may show an entry twice.
void sort_once(std::vector<std::string>& names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
}

}  // namespace

std::vector<std::string> repositories(const Layout& layout) {
  std::vector<std::string> found;
  collect(layout, layout.tree / "tags", "", found);
  sort_once(found);
  return found;
}

std::vector<std::string> tags(const Layout& layout, std::string_view repository) {
  std::vector<std::string> found;
  for_each_tag(layout, tags_dir(layout, repository), [&](std::string&& tag) {
    found.push_back(std::move(tag));
    return true;
  });
  sort_once(found);
  return found;
}

}  // namespace nixery::tree
