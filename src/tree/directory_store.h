// The blob store on two directories: TREE, which nginx serves, and STATE. layout.h says under which path names.
//
// A tag is a symlink to its manifest's directory, so that nginx resolves it without a worker. Files are written in
// TREE/incoming or beside their target, synced if their kind is durable, and renamed. Locks are files of STATE
// (os/lock.h). Several hosts may share the directories on a network file system with working locks.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>

#include "tree/blob_store.h"

namespace nixery::tree {

namespace fs = std::filesystem;

struct Layout;  // private to tree/

class DirectoryStore : public BlobStore {
 public:
  // Without a STATE, as an exported tree is, it keeps only what lies in TREE.
  DirectoryStore(fs::path tree, fs::path state);
  ~DirectoryStore() override;

  void prepare() const override;
  void require() const override;
  // A blob behind a link, be it the file's or a directory's, is none: nginx would not follow it either.
  bool has(const ObjectName& name) const override;
  std::optional<ObjectInfo> status(const ObjectName& name) const override;
  std::optional<std::string> read(const ObjectName& name) const override;
  os::Fd open(const ObjectName& name) const override;
  void put(const ObjectName& name, std::string_view bytes) const override;
  os::PendingFile scratch(Kind kind) const override;
  void put(const ObjectName& name, os::PendingFile file) const override;
  bool touch(const ObjectName& name) const override;
  void list(Kind kind, std::string_view prefix, const Visit& visit) const override;
  bool remove(const ObjectName& name) const override;
  LockHandle lock(std::string_view name, const std::stop_token& stop, LockMode mode,
                  std::chrono::seconds limit) const override;
  LockHandle try_lock(std::string_view name, LockMode mode) const override;
  bool is_locked(std::string_view name) const override;
  bool keeps(Kind kind) const override;
  std::error_code prepare_locks() const override;
  bool retire(const ObjectName& name) const override;
  void reclaim() const override;
  std::size_t remove_leftovers(const Judge& judge, bool dry_run) const override;
  void check_shape(const ReportFault& report) const override;
  std::string location(const ObjectName& name) const override;
  std::optional<os::DiskSpace> room(Kind kind) const override;

  // Puts a blob as a hard link to an open file. False if the file systems do not allow it, or there is such a blob. It
  // survives a power cut once sync() has returned.
  bool link(const ObjectName& name, const os::Fd& file) const;
  void sync() const;                      // all of TREE's file system
  void remove_scratch_directory() const;  // if nobody uses it

 private:
  const std::unique_ptr<const Layout> layout_;
  mutable std::atomic<std::size_t> retired_{0};
};

}  // namespace nixery::tree
