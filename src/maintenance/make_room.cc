#include "maintenance/make_room.h"

#include <unistd.h>

#include <system_error>
#include <vector>

#include "error.h"
#include "log.h"
#include "os/lock.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

bool lacks_room(const std::error_code& code) {
  return code == std::errc::no_space_on_device || code.value() == EDQUOT;
}

// False where nothing is left to remove.
bool remove_one(const tree::Layout& layout) {
  for (const fs::path& dir :
       {layout.log("x").parent_path(), layout.failure("x").parent_path(), layout.attribute_names()}) {
    std::error_code code;
    for (fs::directory_iterator entry(dir, code), end; !code && entry != end; entry.increment(code))
      if (unlink(entry->path().c_str()) == 0) return true;
  }
  return false;
}

}  // namespace

void make_lock_files(const tree::Layout& layout) {
  for (const fs::path& file : layout.lock_files())
    while (lacks_room(os::make_lock_file(file)))
      if (!remove_one(layout)) return;
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
