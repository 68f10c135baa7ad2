#include "nix/revisions.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "image/digest.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path.h"
#include "reference/reference.h"

namespace nixery::nix {

namespace {

os::LockName lock_of(const fs::path& directory, std::string_view revision) {
  const std::string hash = image::KeyBuilder("revision").add(revision).finish();
  return {directory / "revisions.lock", std::stoull(hash.substr(0, 16), nullptr, 16) >> 2};
}

}  // namespace

PinnedSource Revisions::get(const Revision& revision, const std::stop_token& stop,
                            const std::function<void(const fs::path&)>& make) const {
  // The last component is what a set's `./.` is called in the store, so it must be the same everywhere.
  const fs::path pinned = os::join_below(directory_, revision.id) / "source";
  const os::LockName name = lock_of(directory_, revision.id);
  for (;;) {
    {
      auto in_use = std::make_shared<const os::Lock>(name, stop, os::Lock::Mode::shared);
      if (fs::exists(pinned)) {
        os::touch(pinned.parent_path());  // so that it is not the least recently used
        return {pinned, revision, std::move(in_use)};
      }
    }
    const os::Lock alone(name, stop);
    if (fs::exists(pinned)) continue;
    make(pinned);
    remove_oldest();
  }
}

void Revisions::remove_oldest() const {
  // A time in the future comes from a clock that was wrong: such revisions go first.
  const auto latest = std::chrono::system_clock::now() + std::chrono::minutes(10);
  std::vector<std::pair<os::Time, std::string>> revisions;
  os::for_each_entry(directory_, [&](const auto& entry) {
    std::string id = entry.path().filename().string();
    const auto status = reference::is_commit(id) ? os::status_of(entry.path()) : std::nullopt;
    if (status) revisions.emplace_back(status->modified > latest ? os::Time{} : status->modified, std::move(id));
  });
  std::sort(revisions.begin(), revisions.end());
  std::size_t left = revisions.size();
  for (const auto& [time, id] : revisions)
    if (left > kept_ && remove_revision(directory_, id)) --left;
}

bool remove_revision(const fs::path& directory, std::string_view revision) {
  const auto alone = os::Lock::try_lock(lock_of(directory, revision));
  if (!alone) return false;
  // Atomically: a reader would take a part of it for the whole.
  const fs::path gone = directory / fmt::format("{}.partial", revision);
  std::error_code code;
  fs::remove_all(gone, code);
  fs::rename(directory / revision, gone, code);
  if (code) return false;
  fs::remove_all(gone, code);
  return true;
}

}  // namespace nixery::nix
