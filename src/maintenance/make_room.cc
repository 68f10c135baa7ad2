#include "maintenance/make_room.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "error.h"
#include "log.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

bool lacks_room(const std::error_code& code) {
  return code == std::errc::no_space_on_device || code.value() == EDQUOT;
}

bool remove_file_in(const fs::path& dir) {
  std::error_code code;
  for (fs::directory_iterator entry(dir, code), end; !code && entry != end; entry.increment(code))
    if (unlink(entry->path().c_str()) == 0) return true;
  return false;
}

bool remove_failure(const tree::BlobStore& store) {
  bool removed = false;
  store.list(tree::Kind::failure, "",
             [&](const tree::ObjectName& name, const tree::ObjectInfo&) { return !(removed = store.remove(name)); });
  return removed;
}

// False if nothing is left to remove.
bool remove_one(const tree::BlobStore& store, const tree::LocalState& local) {
  return remove_file_in(local.logs()) || remove_failure(store) || remove_file_in(local.attribute_names());
}

}  // namespace

void prepare_locks(const tree::BlobStore& store, const tree::LocalState& local) {
  while (lacks_room(store.prepare_locks()) && remove_one(store, local)) {
  }
}

void write_if_possible(std::string_view failing, const std::function<void()>& write) {
  try {
    write();
  } catch (const Error& error) {
    if (error.failure() != Failure::storage) throw;
    log::warning(failing, {{"error", error.what()}});
  }
}

}  // namespace nixery::maintenance
