#include "tree/blob_store.h"

#include "error.h"

namespace nixery::tree {

std::optional<std::string> read_if_readable(const BlobStore& store, const ObjectName& name) {
  try {
    return store.read(name);
  } catch (const Error&) {
    return std::nullopt;
  }
}

os::Fd open_if_readable(const BlobStore& store, const ObjectName& name) {
  try {
    return store.open(name);
  } catch (const Error&) {
    return {};
  }
}

bool remove_if_possible(const BlobStore& store, const ObjectName& name) {
  try {
    return store.remove(name);
  } catch (const Error&) {  // its readers cope with it
    return false;
  }
}

}  // namespace nixery::tree
