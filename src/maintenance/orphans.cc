#include "maintenance/orphans.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "layer/index.h"
#include "maintenance/last_run.h"
#include "maintenance/make_room.h"
#include "nix/revisions.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "reference/reference.h"
#include "tree/records.h"
#include "tree/tree_lock.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::hours cancelled{24};       // nobody writes a file for that long
constexpr std::chrono::hours forgotten{14 * 24};  // logs, failures
constexpr std::chrono::hours unneeded{30 * 24};   // recipes of blobs that are gone, package sets that nobody built from

class Sweeper {
 public:
  Sweeper(const tree::Layout& layout, const std::function<bool(const image::Digest&)>& stays,
          const std::set<image::Digest>& missing, os::Time now, const OrphanLimits& limits, Mode mode)
      : layout_(layout), stays_(stays), missing_(missing), now_(now), limits_(limits), mode_(mode) {}

  std::size_t sweep() {
    sweep_temporary_files(layout_.incoming());
    for (const char* dir : {"", "recipes", "groups", "images", "failures", "attributes"})
      sweep_temporary_files(layout_.state / dir);
    for (const fs::path& names : {layout_.tree / "tags", layout_.records()}) sweep_names(names);
    sweep_gc_roots();  // before what says whose they are
    sweep_index(layout_.state / "images");
    sweep_index(layout_.state / "groups");
    sweep_segments();
    sweep_recipes();
    sweep_originals();
    sweep_logs();
    sweep_old(layout_.attribute_names(), unneeded);
    sweep_records();
    sweep_referrers();
    sweep_locks();
    sweep_sources();
    return removed_;
  }

 private:
  bool is_older(const fs::path& path, std::chrono::seconds age) const {
    const auto status = os::status_of(path);
    if (!status || !limits_.clock_is_believed) return false;
    if (!is_in_future(status->modified, now_)) return now_ - status->modified >= age;
    if (mode_ == Mode::real) os::touch(path);
    return false;
  }

  void remove(const fs::path& path) {
    std::error_code code;
    if (mode_ == Mode::dry_run || fs::remove_all(path, code) > 0) ++removed_;
  }

  void remove_lock(const fs::path& path) {
    if (is_older(path, cancelled) && (mode_ == Mode::dry_run || os::drop_free_lock(path))) ++removed_;
  }

  void sweep_temporary_files(const fs::path& dir) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (entry.path().filename().string().starts_with(".tmp-") && is_older(entry.path(), cancelled))
        remove(entry.path());
    });
  }

  // Links and records are made beside those of the same repository. Who makes one makes its directories first, and
  // holds the tree meanwhile.
  void sweep_names(const fs::path& root) {
    std::vector<fs::path> left, empty;
    std::error_code code;
    fs::recursive_directory_iterator walk(root, code), end;
    for (; !code && walk != end; walk.increment(code)) {
      std::error_code gone;
      if (walk->path().filename().string().starts_with(".tmp-")) {
        if (is_older(walk->path(), cancelled)) left.push_back(walk->path());
      } else if (!walk->is_symlink(gone) && walk->is_directory(gone) && fs::is_empty(walk->path(), gone) &&
                 is_older(walk->path(), cancelled)) {
        empty.push_back(walk->path());  // whose tags were dropped
      }
    }
    if (left.empty() && empty.empty()) return;
    std::optional<tree::ExclusiveTreeLock> alone;
    if (mode_ == Mode::real) alone.emplace(layout_);
    for (const fs::path& path : left) {
      remove(path);
      if (alone) os::remove_empty(path.parent_path(), root);
    }
    for (const fs::path& path : empty) {
      ++removed_;
      if (alone) os::remove_empty(path, root);
    }
  }

  void sweep_old(const fs::path& dir, std::chrono::seconds age) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (is_older(entry.path(), age)) remove(entry.path());
    });
  }

  void sweep_logs() {
    std::chrono::seconds age = forgotten;
    if (limits_.max_age) age = std::min(age, std::max(*limits_.max_age, limits_.grace));
    sweep_old(layout_.failure("x").parent_path(), age);
    os::for_each_entry(layout_.log("x").parent_path(), [&](const auto& entry) {
      const fs::path& log = entry.path();
      if (is_older(log, age) && !os::Lock::is_held(layout_.key_lock(log.stem().string()))) remove(log);
    });
  }

  // Files that begin with the digest of what they lead to.
  void sweep_index(const fs::path& dir) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (entry.path().filename().string().starts_with('.')) return;
      const auto text = os::read_if_readable(entry.path());
      const auto digest = text ? image::Digest::parse_hex(text->substr(0, 64)) : std::nullopt;
      if (!digest || !stays_(*digest)) remove(entry.path());
    });
  }

  // What layers that stay have of the same store paths takes the places.
  void sweep_segments() {
    const std::size_t before = removed_;
    os::for_each_entry(layout_.state / "segments", [&](const auto& shard) {
      sweep_temporary_files(shard.path());
      sweep_index(shard.path());
    });
    if (removed_ > before && mode_ == Mode::real)
      write_if_possible("cannot complete the index of layers", [this] { layer::rebuild_index(layout_); });
  }

  void sweep_recipes() {
    os::for_each_entry(layout_.state / "recipes", [&](const auto& entry) {
      const auto digest = image::Digest::parse_hex(entry.path().stem().string());
      if (digest && !is_needed(*digest) && is_older(entry.path(), unneeded)) remove(entry.path());
    });
  }

  // Written just before the blob itself is.
  void sweep_originals() {
    os::for_each_entry(layout_.state / "originals", [&](const auto& shard) {
      sweep_temporary_files(shard.path());
      os::for_each_entry(shard.path(), [&](const auto& entry) {
        const auto digest = image::Digest::parse_hex(entry.path().filename().string());
        if (digest && !is_needed(*digest) && is_older(entry.path(), cancelled)) remove(entry.path());
      });
    });
  }

  bool is_needed(const image::Digest& blob) const { return missing_.contains(blob) || stays_(blob); }

  // Roots belong to the image of their key, or to a build under way, which holds the key's lock.
  void sweep_gc_roots() {
    os::for_each_entry(layout_.state / "gcroots", [&](const auto& entry) {
      const std::string key = entry.path().filename().string();
      if (!has_no_image(key, entry.path())) return;
      std::optional<os::Lock> lock;
      if (mode_ == Mode::real && !(lock = os::Lock::try_lock(layout_.key_lock(key)))) return;
      if (has_no_image(key, entry.path())) remove(entry.path());  // one may have been built until it was ours
    });
  }

  bool has_no_image(const std::string& key, const fs::path& roots) const {
    const auto manifest = tree::read_image_record(layout_, key);
    return (!manifest || !stays_(*manifest)) && is_older(roots, manifest ? limits_.grace : cancelled);
  }

  // A build writes the record before the tag.
  void sweep_records() {
    std::vector<fs::path> orphans;
    const auto take = [&](std::string_view repository, std::string_view tag) {
      const fs::path record = layout_.record(repository, tag);
      if (!os::status_of(layout_.tag(repository, tag)) && is_older(record, cancelled)) orphans.push_back(record);
    };
    tree::for_each_record(layout_, [&](const tree::TagRecord& record) { take(record.repository, record.tag); });
    tree::for_each_damaged_record(layout_, take);
    for (const fs::path& record : orphans) remove(record);
  }

  // Of manifests that went in a collection that was cut off. Who publishes some holds the tree meanwhile.
  void sweep_referrers() {
    const fs::path root = layout_.tree / "referrers/sha256";
    const auto is_orphan = [&](const fs::path& dir) {
      const auto subject = image::Digest::parse_hex(dir.filename().string());
      return subject && !os::status_of(layout_.manifest_dir(*subject)) && is_older(dir, cancelled);
    };
    std::vector<fs::path> orphans;
    os::for_each_entry(root, [&](const auto& entry) {
      if (is_orphan(entry.path())) orphans.push_back(entry.path());
    });
    if (orphans.empty()) return;
    std::optional<tree::ExclusiveTreeLock> alone;
    if (mode_ == Mode::real) alone.emplace(layout_);
    for (const fs::path& dir : orphans)
      if (is_orphan(dir)) remove(dir);
  }

  // Earlier versions had a file for each key.
  void sweep_locks() {
    os::for_each_entry(layout_.lock("x").parent_path(), [&](const auto& entry) {
      if (entry.path().stem().string().size() == 64) remove_lock(entry.path());
    });
  }

  // STATE/sources/<source>/<revision>; a revision is touched whenever it is built from. Beside it lie, while it is
  // fetched, an archive (.tmp-…) and what is unpacked or checked out of it (<revision>.partial, partial).
  void sweep_sources() {
    std::set<std::string> needed;
    tree::for_each_record(layout_, [&](const tree::TagRecord& record) { needed.insert(record.revision); });
    os::for_each_entry(layout_.sources(), [&](const auto& source) {
      sweep_temporary_files(source.path());
      os::for_each_entry(source.path(), [&](const auto& entry) {
        const fs::path& path = entry.path();
        const std::string name = path.filename().string();
        if (name == "partial" || path.extension() == ".partial") {
          if (is_older(path, cancelled)) remove(path);
        } else if (reference::is_commit(name)) {
          if (!needed.contains(name) && is_older(path, unneeded) &&
              (mode_ == Mode::dry_run || nix::remove_revision(source.path(), name)))
            ++removed_;
        } else if (path.extension() == ".lock" && reference::is_commit(path.stem().string())) {
          remove_lock(path);  // of an earlier version
        }
      });
    });
  }

  const tree::Layout& layout_;
  const std::function<bool(const image::Digest&)>& stays_;
  const std::set<image::Digest>& missing_;
  const os::Time now_;
  const OrphanLimits limits_;
  const Mode mode_;
  std::size_t removed_ = 0;
};

}  // namespace

std::size_t remove_orphans(const tree::Layout& layout, const std::function<bool(const image::Digest&)>& stays,
                           const std::set<image::Digest>& missing, os::Time now, const OrphanLimits& limits,
                           Mode mode) {
  return Sweeper(layout, stays, missing, now, limits, mode).sweep();
}

}  // namespace nixery::maintenance
