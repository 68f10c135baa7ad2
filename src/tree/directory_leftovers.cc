// What a DirectoryStore keeps in its directories beside objects, and how it goes.
#include <fmt/format.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "os/directory.h"
#include "tree/directory_store.h"
#include "tree/layout.h"
#include "tree/tree_lock.h"

namespace nixery::tree {

namespace {

constexpr std::string_view scratch_prefix = ".tmp-";        // os::PendingFile's
constexpr std::string_view retired_prefix = ".collected-";  // in TREE/incoming
constexpr std::size_t key_size = 64;                        // of locks that earlier versions had for each key

bool begins(const fs::path& path, std::string_view prefix) {
  return path.filename().native().starts_with(prefix);
}

class Leftovers {
 public:
  Leftovers(const DirectoryStore& store, const Layout& layout, const BlobStore::Judge& judge, bool dry_run)
      : store_(store), layout_(layout), judge_(judge), dry_run_(dry_run) {}

  std::size_t remove_all() {
    for (const fs::path& dir : {layout_.incoming(), layout_.state}) remove_scratch(dir);
    for (const Kind kind : {Kind::recipe, Kind::group, Kind::image, Kind::failure})
      remove_scratch(layout_.directory(kind));
    for (const Kind kind : {Kind::segment, Kind::original})
      os::for_each_entry(layout_.directory(kind), [&](const auto& shard) { remove_scratch(shard.path()); });
    for (const Kind kind : {Kind::tag, Kind::record}) remove_names(layout_.directory(kind));
    remove_locks();
    return removed_;
  }

 private:
  bool is_abandoned(const fs::path& path) const {
    const auto status = os::status_of(path);
    if (!status) return false;
    const auto verdict = judge_(status->modified);
    if (verdict == BlobStore::Verdict::touch && !dry_run_) os::touch(path);
    return verdict == BlobStore::Verdict::remove;
  }

  void remove(const fs::path& path) {
    std::error_code code;
    if (dry_run_ || fs::remove_all(path, code) > 0) ++removed_;
  }

  void remove_scratch(const fs::path& dir) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (begins(entry.path(), scratch_prefix) && is_abandoned(entry.path())) remove(entry.path());
    });
  }

  // Links and records are made beside those of the same repository. Their writer makes its directories first, and holds
  // the tree meanwhile.
  void remove_names(const fs::path& root) {
    std::vector<fs::path> scratch, empty;
    std::error_code code;
    fs::recursive_directory_iterator walk(root, code), end;
    for (; !code && walk != end; walk.increment(code)) {
      std::error_code gone;
      if (begins(walk->path(), scratch_prefix)) {
        if (is_abandoned(walk->path())) scratch.push_back(walk->path());
      } else if (!walk->is_symlink(gone) && walk->is_directory(gone) && fs::is_empty(walk->path(), gone) &&
                 is_abandoned(walk->path())) {
        empty.push_back(walk->path());  // whose tags were dropped
      }
    }
    if (scratch.empty() && empty.empty()) return;
    std::optional<ExclusiveTreeLock> alone;
    if (!dry_run_) alone.emplace(store_);
    for (const fs::path& path : scratch) {
      remove(path);
      if (alone) os::remove_empty(path.parent_path(), root);
    }
    for (const fs::path& path : empty) {
      ++removed_;
      if (alone) os::remove_empty(path, root);
    }
  }

  void remove_locks() {
    os::for_each_entry(layout_.lock("x").parent_path(), [&](const auto& entry) {
      const fs::path& lock = entry.path();
      if (lock.stem().native().size() == key_size && is_abandoned(lock) && (dry_run_ || os::drop_free_lock(lock)))
        ++removed_;
    });
  }

  const DirectoryStore& store_;
  const Layout& layout_;
  const BlobStore::Judge& judge_;
  const bool dry_run_;
  std::size_t removed_ = 0;
};

}  // namespace

bool DirectoryStore::retire(const ObjectName& name) const {
  const fs::path path = layout_->path(name);
  switch (name.kind()) {
    case Kind::blob:
    case Kind::manifest: {
      const fs::path target = layout_->incoming() / fmt::format("{}{}", retired_prefix, retired_++);
      // Without that directory, or room in it, the file is removed in its place: that needs none.
      const bool retired = rename(path.c_str(), target.c_str()) == 0 || remove(name);
      if (name.kind() == Kind::manifest) rmdir(path.parent_path().c_str());
      return retired;
    }
    case Kind::tag:
    case Kind::record: {
      const bool retired = remove(name);
      os::remove_empty(path.parent_path(), layout_->directory(name.kind()));
      return retired;
    }
    default: return remove(name);
  }
}

void DirectoryStore::reclaim() const {
  os::for_each_entry(layout_->incoming(), [](const auto& entry) {
    if (begins(entry.path(), retired_prefix)) unlink(entry.path().c_str());
  });
}

std::size_t DirectoryStore::remove_leftovers(const Judge& judge, bool dry_run) const {
  return Leftovers(*this, *layout_, judge, dry_run).remove_all();
}

}  // namespace nixery::tree
