#include "maintenance/orphans.h"

#include <algorithm>
#include <set>
#include <string>

#include "layer/index.h"
#include "maintenance/last_run.h"
#include "maintenance/make_room.h"
#include "nix/revisions.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "reference/reference.h"
#include "tree/records.h"
#include "tree/referrers.h"
#include "tree/tree.h"
#include "tree/tree_lock.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::hours cancelled{24};       // no process writes a file for that long
constexpr std::chrono::hours forgotten{14 * 24};  // logs, failures
constexpr std::chrono::hours unneeded{30 * 24};   // recipes of removed blobs, unused package sets

class Sweeper {
 public:
  Sweeper(const tree::BlobStore& store, const tree::LocalState& local,
          const std::function<bool(const image::Digest&)>& stays, const std::set<image::Digest>& missing, os::Time now,
          const OrphanLimits& limits, Mode mode)
      : store_(store), local_(local), stays_(stays), missing_(missing), now_(now), limits_(limits), mode_(mode) {}

  std::size_t sweep() {
    removed_ += store_.remove_leftovers([this](os::Time modified) { return judge(modified, cancelled); },
                                        mode_ == Mode::dry_run);
    sweep_temporary_files(local_.attribute_names());
    sweep_gc_roots();  // before the records that say whose they are
    sweep_index(Kind::image);
    sweep_index(Kind::group);
    sweep_segments();
    sweep_blob_sources(Kind::recipe, unneeded);
    sweep_blob_sources(Kind::original, cancelled);  // written just before the blob itself is
    sweep_failures();
    sweep_logs();
    sweep_attribute_names();
    sweep_records();
    sweep_referrers();
    sweep_sources();
    return removed_;
  }

 private:
  using Kind = tree::Kind;
  using ObjectName = tree::ObjectName;
  using Verdict = tree::BlobStore::Verdict;

  Verdict judge(os::Time modified, std::chrono::seconds age) const {
    if (!limits_.clock_is_believed) return Verdict::keep;
    if (is_in_future(modified, now_)) return Verdict::touch;
    return now_ - modified >= age ? Verdict::remove : Verdict::keep;
  }

  bool is_older(const fs::path& path, std::chrono::seconds age) const {
    const auto status = os::status_of(path);
    const auto verdict = status ? judge(status->modified, age) : Verdict::keep;
    if (verdict == Verdict::touch && mode_ == Mode::real) os::touch(path);
    return verdict == Verdict::remove;
  }

  bool is_older(const ObjectName& name, os::Time modified, std::chrono::seconds age) const {
    const auto verdict = judge(modified, age);
    if (verdict == Verdict::touch && mode_ == Mode::real) store_.touch(name);
    return verdict == Verdict::remove;
  }

  void remove(const fs::path& path) {
    std::error_code code;
    if (mode_ == Mode::dry_run || fs::remove_all(path, code) > 0) ++removed_;
  }

  void remove(const ObjectName& name) {
    if (mode_ == Mode::dry_run || remove_if_possible(store_, name)) ++removed_;
  }

  // Removes the objects of a kind for which `is_orphan` is true.
  void sweep_objects(Kind kind, const std::function<bool(const ObjectName&, const tree::ObjectInfo&)>& is_orphan) {
    store_.list(kind, "", [&](const ObjectName& name, const tree::ObjectInfo& info) {
      if (is_orphan(name, info)) remove(name);
      return true;
    });
  }

  void sweep_temporary_files(const fs::path& dir) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (entry.path().filename().string().starts_with(".tmp-") && is_older(entry.path(), cancelled))
        remove(entry.path());
    });
  }

  void sweep_attribute_names() {
    os::for_each_entry(local_.attribute_names(), [&](const auto& entry) {
      if (is_older(entry.path(), unneeded)) remove(entry.path());
    });
  }

  std::chrono::seconds age_of_logs() const {
    return limits_.max_age ? std::min<std::chrono::seconds>(forgotten, std::max(*limits_.max_age, limits_.grace))
                           : forgotten;
  }

  void sweep_failures() {
    sweep_objects(Kind::failure, [this](const ObjectName& name, const tree::ObjectInfo& info) {
      return is_older(name, info.modified, age_of_logs());
    });
  }

  void sweep_logs() {
    os::for_each_entry(local_.logs(), [&](const auto& entry) {
      const fs::path& log = entry.path();
      if (is_older(log, age_of_logs()) && !store_.is_locked(log.stem().string())) remove(log);
    });
  }

  // Objects that begin with the digest of what they lead to.
  void sweep_index(Kind kind) {
    sweep_objects(kind, [this](const ObjectName& name, const tree::ObjectInfo&) {
      const auto text = tree::read_if_readable(store_, name);
      const auto digest = text ? image::Digest::parse_hex(text->substr(0, 64)) : std::nullopt;
      return !digest || !stays_(*digest);
    });
  }

  // Segments of the same store paths in remaining layers replace them.
  void sweep_segments() {
    const std::size_t before = removed_;
    sweep_index(Kind::segment);
    if (removed_ > before && mode_ == Mode::real)
      write_if_possible("cannot complete the index of layers", [this] { layer::rebuild_index(store_); });
  }

  // What blobs can be made again from.
  void sweep_blob_sources(Kind kind, std::chrono::seconds age) {
    sweep_objects(kind, [this, age](const ObjectName& name, const tree::ObjectInfo& info) {
      const auto digest = name.digest();
      return digest && !missing_.contains(*digest) && !stays_(*digest) && is_older(name, info.modified, age);
    });
  }

  // Roots belong to the image of their key, or to a running build, which holds the key's lock.
  void sweep_gc_roots() {
    os::for_each_entry(local_.gc_roots(), [&](const auto& entry) {
      const std::string key = entry.path().filename().string();
      if (!has_no_image(key, entry.path())) return;
      tree::LockHandle lock;
      if (mode_ == Mode::real && !(lock = store_.try_lock(key))) return;
      if (has_no_image(key, entry.path())) remove(entry.path());  // one may have been built before we got the lock
    });
  }

  bool has_no_image(const std::string& key, const fs::path& roots) const {
    const auto manifest = tree::read_image_record(store_, key);
    return (!manifest || !stays_(*manifest)) && is_older(roots, manifest ? limits_.grace : cancelled);
  }

  // A build writes the record before the tag.
  void sweep_records() {
    sweep_objects(Kind::record, [this](const ObjectName& name, const tree::ObjectInfo& info) {
      return reference::is_repository(name.repository()) && reference::is_tag(name.tag()) &&
             !store_.status(ObjectName::tag(name.repository(), name.tag())) && is_older(name, info.modified, cancelled);
    });
  }

  // Lists of manifests that an interrupted collection removed. A build that publishes one holds the tree lock
  // meanwhile.
  void sweep_referrers() {
    std::set<image::Digest> orphans;
    for (const Kind kind : {Kind::referrer, Kind::referrers_index})
      store_.list(kind, "", [&](const ObjectName& name, const tree::ObjectInfo& info) {
        const auto subject = name.digest();
        if (subject && !tree::has_manifest(store_, *subject) && is_older(name, info.modified, cancelled))
          orphans.insert(*subject);
        return true;
      });
    if (mode_ == Mode::dry_run) {
      removed_ += orphans.size();
      return;
    }
    if (orphans.empty()) return;
    const tree::ExclusiveTreeLock alone(store_);
    for (const image::Digest& subject : orphans) {
      if (tree::has_manifest(store_, subject)) continue;  // it was published again
      tree::retire_referrers(store_, subject);
      ++removed_;
    }
  }

  // sources/<source>/<revision>; each build touches its revision. During a fetch there are also an archive (.tmp-…) and
  // an unpacked or checked-out directory (<revision>.partial, partial).
  void sweep_sources() {
    std::set<std::string> needed;
    tree::for_each_record(store_, [&](const tree::TagRecord& record) { needed.insert(record.revision); });
    os::for_each_entry(local_.sources(), [&](const auto& source) {
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

  void remove_lock(const fs::path& path) {
    if (is_older(path, cancelled) && (mode_ == Mode::dry_run || os::drop_free_lock(path))) ++removed_;
  }

  const tree::BlobStore& store_;
  const tree::LocalState& local_;
  const std::function<bool(const image::Digest&)>& stays_;
  const std::set<image::Digest>& missing_;
  const os::Time now_;
  const OrphanLimits limits_;
  const Mode mode_;
  std::size_t removed_ = 0;
};

}  // namespace

std::size_t remove_orphans(const tree::BlobStore& store, const tree::LocalState& local,
                           const std::function<bool(const image::Digest&)>& stays,
                           const std::set<image::Digest>& missing, os::Time now, const OrphanLimits& limits,
                           Mode mode) {
  return Sweeper(store, local, stays, missing, now, limits, mode).sweep();
}

}  // namespace nixery::maintenance
