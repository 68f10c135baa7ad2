// Where published bytes lie: blobs, manifests, tags, referrers and records, and the caches beside them. Everything
// outside of tree/ reaches them by name (object_name.h); path names are known to the directory's implementation alone
// (directory_store.h).
//
// What every implementation promises:
//   * An object is seen whole or not at all, however the process that puts it ends. put() replaces.
//   * What put() has returned for is there for every later reader, on all hosts that share the store.
//   * An object that is not there is no error: functions return nullopt, an empty Fd or false.
//   * list() may or may not show what comes or goes meanwhile, and may show a name twice; it takes no lock. It is for
//     maintenance and listings, not for the path of a pull.
//
// All functions are thread-safe, and safe between processes and hosts that share the store. They throw Error{storage}.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>

#include "os/fd.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/usage.h"
#include "tree/object_name.h"

namespace nixery::tree {

struct ObjectInfo {
  std::uint64_t size;  // bytes; of a tag, unspecified
  os::Time modified;   // when it was put or touched last
};

// Held until it is destroyed, or until its process or host is gone.
class StoreLock {
 public:
  StoreLock() = default;
  StoreLock(const StoreLock&) = delete;
  StoreLock& operator=(const StoreLock&) = delete;
  virtual ~StoreLock() = default;
};
using LockHandle = std::unique_ptr<StoreLock>;

class BlobStore {
 public:
  using LockMode = os::Lock::Mode;
  // Returns whether to go on.
  using Visit = std::function<bool(const ObjectName&, const ObjectInfo&)>;

  BlobStore() = default;
  BlobStore(const BlobStore&) = delete;
  BlobStore& operator=(const BlobStore&) = delete;
  virtual ~BlobStore() = default;

  // Makes what the store needs and proves that it can be written. Throws Error{storage} that says what cannot.
  virtual void prepare() const = 0;
  // Throws Error{bad_config} if the store as a whole is missing, such as a disk that is not mounted: it is then neither
  // sound nor garbage.
  virtual void require() const = 0;

  virtual bool has(const ObjectName& name) const { return status(name).has_value(); }
  virtual std::optional<ObjectInfo> status(const ObjectName& name) const = 0;

  // The whole object, for small ones. A tag that leads to no manifest's digest has no bytes.
  virtual std::optional<std::string> read(const ObjectName& name) const = 0;
  // A local file with the object's bytes, open for reading at its beginning; empty if there is no such object. A store
  // that is not a local one brings the bytes to a file first. Not for tags.
  virtual os::Fd open(const ObjectName& name) const = 0;

  // is_durable() says what survives a power cut. The bytes of a tag are "sha256:<64 hex>"; a tag that leads there
  // already is left as it is.
  virtual void put(const ObjectName& name, std::string_view bytes) const = 0;
  // An object that is larger than memory, or made piece by piece: written into a scratch file, then put.
  virtual os::PendingFile scratch(Kind kind) const = 0;
  virtual void put(const ObjectName& name, os::PendingFile file) const = 0;

  // Sets the time of modification to now: "somebody counts on this" (tree_lock.h). False if there is no such object.
  virtual bool touch(const ObjectName& name) const = 0;

  // Calls `visit` for the objects of a kind, in no particular order, until it returns false. `prefix` is empty or made
  // by tags_prefix() or digest_prefix().
  virtual void list(Kind kind, std::string_view prefix, const Visit& visit) const = 0;

  // False if there was none.
  virtual bool remove(const ObjectName& name) const = 0;

  // Locks between all who share the store. `name` is any text: the key of a build, or a name of tree_lock.h or
  // maintenance/. Two names share a lock with a probability of 2^-62. Waits for `limit` at most. Throws
  // Error{unavailable} once stop is requested or the limit has passed.
  virtual LockHandle lock(std::string_view name, const std::stop_token& stop = {}, LockMode mode = LockMode::exclusive,
                          std::chrono::seconds limit = std::chrono::hours(24)) const = 0;
  // Only if it is free now; else null.
  virtual LockHandle try_lock(std::string_view name, LockMode mode = LockMode::exclusive) const = 0;
  // Whether it is held exclusively now.
  virtual bool is_locked(std::string_view name) const = 0;

  // Makes what a lock needs beforehand, as later there may be no room for it. Returns why that failed.
  virtual std::error_code prepare_locks() const { return {}; }

  // For garbage collection, under an ExclusiveTreeLock. Like remove(), but what takes long is left to reclaim();
  // directories that are left empty go as well.
  virtual bool retire(const ObjectName& name) const { return remove(name); }
  virtual void reclaim() const {}  // also for a collection that was cut off; takes no lock
  // Finds what writers that were cut off have left: scratch files, empty directories, locks of earlier versions.
  // `judge` decides by the time of modification. Takes an ExclusiveTreeLock if it has to. Returns how many were
  // removed, or in a dry run would be.
  enum class Verdict { keep, touch, remove };
  using Judge = std::function<Verdict(os::Time modified)>;
  virtual std::size_t remove_leftovers(const Judge&, [[maybe_unused]] bool dry_run) const { return 0; }

  // False for a kind of which this store keeps nothing: an exported tree has only what is served.
  virtual bool keeps(Kind) const { return true; }

  // Reports what is wrong with the places in which the store keeps objects, rather than with objects: a link in the
  // place of a directory, a file that the web server may not read, a name that is none. Call it before objects are
  // verified. `report` decides whether to call `repair`, and returns whether that succeeded.
  struct Fault {
    std::string_view what;  // as maintenance::Problem::what
    std::string name, message;
    bool is_harmless;
  };
  using ReportFault = std::function<bool(Fault, const std::function<void()>& repair)>;
  virtual void check_shape(const ReportFault&) const {}

  // Where a person finds the object, or with an empty key the objects of its kind: a path name or an address.
  virtual std::string location(const ObjectName& name) const { return name.str(); }

  // The space of the disk on which objects of this kind lie; nullopt if that cannot be said.
  virtual std::optional<os::DiskSpace> room(Kind kind) const = 0;
};

// Likewise nullopt if the object cannot be read: for what can be made again.
std::optional<std::string> read_if_readable(const BlobStore& store, const ObjectName& name);

// Likewise an empty Fd.
os::Fd open_if_readable(const BlobStore& store, const ObjectName& name);

// Removes an object that may as well stay: one that cannot be removed now is left. Whether it did; never throws Error.
bool remove_if_possible(const BlobStore& store, const ObjectName& name);

}  // namespace nixery::tree
