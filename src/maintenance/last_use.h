// When which manifest was last pulled, as the web server tells: nginx/nixery-use.conf logs a line for each request of a
// manifest that was answered, by nginx or by a worker,
//
//   1764000000.123 sha256:<64 hex>
//
// and each look reads what has been added since the last one. Where another log has taken its place meanwhile, the
// predecessor, <log>.1, is read as well: from where it was left, or from its beginning where that is not known. A line
// only ever makes a use later, so one that is read twice does no harm; lines of a log that was rotated twice between
// two looks are lost. Workers look every hour, and when they stop (command/periodic_tasks.h).
//
// STATE/uses keeps the outcome: a line for each manifest, and one for each log with the place up to which it was read;
// hosts that share STATE each have a log of their own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "image/digest.h"
#include "os/file.h"
#include "tree/blob_store.h"

namespace nixery::maintenance {

// One thread at a time; safe between processes as far as save() is called by who has held uses_lock() since it was
// made.
class LastUse {
 public:
  // Reads what was kept; what is torn or not there counts as empty. `store` must outlive it.
  explicit LastUse(const tree::BlobStore& store);

  // Takes in what was added to `log`; empty: there is none. A missing file has no lines; lines of another shape are
  // passed over. Throws Error{storage} where it cannot be read.
  void read_log(const std::filesystem::path& log);

  // Nothing is known: the epoch.
  os::Time of(const image::Digest& manifest) const;

  // A use later than `now` was logged by a clock that was wrong: from here on it counts as one of now.
  void reset_future(os::Time now);

  // Forgets the manifests for which `gone` holds.
  void forget(const std::function<bool(const image::Digest&)>& gone);

  void save() const;

 private:
  struct Place {
    std::uint64_t inode = 0;
    std::string first;         // word of the log: inodes are given to other files in time, and at once on some systems
    std::uint64_t offset = 0;  // bytes
  };
  class Log;
  Place take_lines(const Log& log, Place place);
  void take_line(std::string_view line);

  const tree::BlobStore* store_;
  std::map<image::Digest, std::int64_t> seconds_;  // since 1970
  std::map<std::string, Place> places_;            // by host and log
};

// To be held shortly: from reading STATE/uses until it is saved. Throws Error{storage}.
tree::LockHandle uses_lock(const tree::BlobStore& store);

// Takes what was added to `log` into STATE/uses; empty: nothing. Throws Error{storage}.
void record_uses(const tree::BlobStore& store, const std::filesystem::path& log);

}  // namespace nixery::maintenance
