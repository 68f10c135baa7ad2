// A blob store in memory: what a test of tree/ or layer/ passes on it and on a directory does not depend on path names.
#pragma once

#include <map>
#include <mutex>
#include <set>

#include "error.h"
#include "temporary_directory.h"
#include "tree/blob_store.h"

namespace nixery::test {

class MemoryStore : public tree::BlobStore {
 public:
  void prepare() const override {}
  void require() const override {}

  std::optional<tree::ObjectInfo> status(const tree::ObjectName& name) const override {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(name);
    if (found == objects_.end()) return std::nullopt;
    return tree::ObjectInfo{found->second.bytes.size(), found->second.modified};
  }

  std::optional<std::string> read(const tree::ObjectName& name) const override {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(name);
    return found == objects_.end() ? std::nullopt : std::optional(found->second.bytes);
  }

  os::Fd open(const tree::ObjectName& name) const override {
    const auto bytes = read(name);
    if (!bytes) return {};
    os::PendingFile file = scratch(name.kind());
    file.write(*bytes);
    return os::open_for_reading(file.path());  // which outlives the file's name
  }

  void put(const tree::ObjectName& name, std::string_view bytes) const override {
    const std::lock_guard lock(mutex_);
    objects_.insert_or_assign(name, Object{std::string(bytes), now()});
  }

  os::PendingFile scratch(tree::Kind) const override { return os::PendingFile(scratch_.path()); }

  void put(const tree::ObjectName& name, os::PendingFile file) const override {
    put(name, *os::read_if_exists(file.path()));
  }

  bool touch(const tree::ObjectName& name) const override {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(name);
    if (found == objects_.end()) return false;
    found->second.modified = now();
    return true;
  }

  void list(tree::Kind kind, std::string_view prefix, const Visit& visit) const override {
    const auto snapshot = [&] {
      const std::lock_guard lock(mutex_);
      return objects_;
    }();
    for (const auto& [name, object] : snapshot)
      if (name.kind() == kind && name.key().starts_with(prefix) && !visit(name, {object.bytes.size(), object.modified}))
        return;
  }

  bool remove(const tree::ObjectName& name) const override {
    const std::lock_guard lock(mutex_);
    return objects_.erase(name) > 0;
  }

  tree::LockHandle lock(std::string_view name, const std::stop_token&, LockMode mode,
                        std::chrono::seconds) const override {
    if (auto held = try_lock(name, mode)) return held;
    throw Error(Failure::unavailable, "the lock is held");
  }

  tree::LockHandle try_lock(std::string_view name, LockMode mode) const override {
    const std::lock_guard lock(mutex_);
    const auto [at, is_free] = locks_.try_emplace(std::string(name), Holders{mode, 0});
    if (!is_free && (mode == LockMode::exclusive || at->second.mode == LockMode::exclusive)) return nullptr;
    ++at->second.count;
    return std::make_unique<Held>(*this, at->first);
  }

  bool is_locked(std::string_view name) const override {
    const std::lock_guard lock(mutex_);
    const auto found = locks_.find(name);
    return found != locks_.end() && found->second.mode == LockMode::exclusive;
  }

  std::optional<os::DiskSpace> room(tree::Kind) const override { return std::nullopt; }

 private:
  struct Object {
    std::string bytes;
    os::Time modified;
  };
  struct Holders {
    LockMode mode;
    std::size_t count;
  };
  struct Held : tree::StoreLock {
    Held(const MemoryStore& of, std::string held) : store(of), name(std::move(held)) {}
    ~Held() override {
      const std::lock_guard lock(store.mutex_);
      const auto found = store.locks_.find(name);
      if (--found->second.count == 0) store.locks_.erase(found);
    }
    const MemoryStore& store;
    const std::string name;
  };

  static os::Time now() {
    return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
  }

  const TemporaryDirectory scratch_;
  mutable std::mutex mutex_;
  mutable std::map<tree::ObjectName, Object> objects_;
  mutable std::map<std::string, Holders, std::less<>> locks_;
};

}  // namespace nixery::test
