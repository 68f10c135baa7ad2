#include "tree/listing.h"

#include <set>

#include "reference/reference.h"
#include "tree/tree.h"

namespace nixery::tree {

namespace {

bool can_be_pulled(const BlobStore& store, const ObjectName& name) {
  if (!reference::is_tag(name.tag())) return false;
  const auto digest = read_tag(store, name);
  return digest && has_manifest(store, *digest);
}

}  // namespace

std::vector<std::string> repositories(const BlobStore& store) {
  std::set<std::string, std::less<>> found;
  store.list(Kind::tag, "", [&](const ObjectName& name, const ObjectInfo&) {
    if (!found.contains(name.repository()) && reference::is_repository(name.repository()) && can_be_pulled(store, name))
      found.emplace(name.repository());
    return true;
  });
  return {found.begin(), found.end()};
}

std::vector<std::string> tags(const BlobStore& store, std::string_view repository) {
  std::set<std::string> found;
  store.list(Kind::tag, tags_prefix(repository), [&](const ObjectName& name, const ObjectInfo&) {
    if (can_be_pulled(store, name)) found.emplace(name.tag());
    return true;
  });
  return {found.begin(), found.end()};
}

}  // namespace nixery::tree
