// The last pull of each manifest, from the web server's log: nginx/nixery-use.conf logs a line for each answered
// request of a manifest, by nginx or by a worker,
//
//   1764000000.123 sha256:<64 hex>
//
// and each read continues at the end of the last one. If the log was rotated meanwhile, its predecessor <log>.1 is read
// as well, from the last position or, if that is unknown, from the beginning. Reading a line twice does no harm,
// because a line only ever makes a use later. Lines of a log that was rotated twice between two reads are lost. Workers
// read it every hour and when they stop (command/periodic_tasks.h).
//
// STATE/uses stores the result: a line for each manifest, and one for each log with its read position; hosts that share
// STATE each have their own log.
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

// Not thread-safe; safe between processes if the caller of save() has held uses_lock() since construction.
class LastUse {
 public:
  // Reads what was kept; what is torn or not there counts as empty. `store` must outlive it.
  explicit LastUse(const tree::BlobStore& store);

  // Reads what was added to `log`; empty: no log. A missing file has no lines; malformed lines are ignored. Throws
  // Error{storage} if it cannot be read.
  void read_log(const std::filesystem::path& log);

  // The epoch if unknown.
  os::Time of(const image::Digest& manifest) const;

  // Sets uses later than `now`, from a wrong clock, to `now`.
  void reset_future(os::Time now);

  // Forgets the manifests for which `gone` holds.
  void forget(const std::function<bool(const image::Digest&)>& gone);

  void save() const;

 private:
  struct Place {
    std::uint64_t inode = 0;
    std::string first;         // first word of the log, because inode numbers are reused
    std::uint64_t offset = 0;  // bytes
  };
  class Log;
  Place take_lines(const Log& log, Place place);
  void take_line(std::string_view line);

  const tree::BlobStore* store_;
  std::map<image::Digest, std::int64_t> seconds_;  // since 1970
  std::map<std::string, Place> places_;            // by host and log
};

// Hold it only from reading STATE/uses until it is saved. Throws Error{storage}.
tree::LockHandle uses_lock(const tree::BlobStore& store);

// Adds the new lines of `log` to STATE/uses; empty: none. Throws Error{storage}.
void record_uses(const tree::BlobStore& store, const std::filesystem::path& log);

}  // namespace nixery::maintenance
