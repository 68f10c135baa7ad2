#include "tree/directory_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "error.h"
#include "tree/directory_walk.h"
#include "tree/layout.h"

namespace nixery::tree {

namespace {

bool lies_in_tree(Kind kind) {
  switch (kind) {
    case Kind::blob:
    case Kind::manifest:
    case Kind::tag:
    case Kind::referrer:
    case Kind::referrers_index: return true;
    default: return false;
  }
}

// Whether objects of a kind lie in a directory for each digest, which goes with the last of them.
bool is_below_digest(Kind kind) {
  return kind == Kind::manifest || kind == Kind::referrer || kind == Kind::referrers_index;
}

struct FileLock : StoreLock {
  explicit FileLock(os::Lock held) : lock(std::move(held)) {}
  os::Lock lock;
};

void throw_no_tag(const ObjectName& name) {
  throw Error(Failure::storage, fmt::format("cannot put {}: its bytes are no digest", name.str()));
}

}  // namespace

DirectoryStore::DirectoryStore(fs::path tree, fs::path state)
    : layout_(new Layout{std::move(tree), std::move(state)}) {}

DirectoryStore::~DirectoryStore() = default;

void DirectoryStore::prepare() const {
  for (const fs::path& dir : {layout_->incoming(), layout_->state}) {
    os::make_directories(dir);
    if (access(dir.c_str(), W_OK | X_OK) != 0) os::throw_errno("write to", dir);
  }
  prepare_locks();
}

void DirectoryStore::require() const {
  std::error_code absent;
  if (!fs::is_directory(layout_->tree, absent))
    throw Error(Failure::bad_config, fmt::format("there is no directory {}: set NIXERY_TREE to the one that is served",
                                                 layout_->tree.string()));
}

std::error_code DirectoryStore::prepare_locks() const {
  std::error_code failed;
  for (const fs::path& file : layout_->lock_files())
    if (const auto code = os::make_lock_file(file)) failed = code;
  return failed;
}

bool DirectoryStore::has(const ObjectName& name) const {
  if (name.kind() != Kind::blob) return status(name).has_value();
  std::error_code absent;
  const fs::path blob = layout_->path(name);
  const fs::path real = fs::canonical(blob, absent);
  return !absent && real == fs::canonical(layout_->tree, absent) / blob.lexically_relative(layout_->tree) &&
         fs::is_regular_file(real, absent);
}

std::optional<ObjectInfo> DirectoryStore::status(const ObjectName& name) const {
  const auto found = os::status_of(layout_->path(name));
  const auto kind = name.kind() == Kind::tag ? os::FileStatus::Kind::link : os::FileStatus::Kind::file;
  if (!found || found->kind != kind) return std::nullopt;
  return ObjectInfo{found->size, found->modified};
}

std::optional<std::string> DirectoryStore::read(const ObjectName& name) const {
  const fs::path path = layout_->path(name);
  if (name.kind() != Kind::tag) return os::read_if_exists(path);
  std::error_code code;
  const fs::path target = fs::read_symlink(path, code);
  if (code) return std::nullopt;
  const auto digest = Layout::digest_of_tag_target(target);
  return digest ? digest->str() : std::string();
}

os::Fd DirectoryStore::open(const ObjectName& name) const {
  const fs::path path = layout_->path(name);
  os::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // what is no file must not hold us up
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) return fd;
  if (!fd) os::throw_errno("open", path);
  os::size_of(fd, path);  // refuses what is no file
  return fd;
}

void DirectoryStore::put(const ObjectName& name, std::string_view bytes) const {
  if (name.kind() == Kind::tag) {
    const auto digest = image::Digest::parse(bytes);
    if (!digest) throw_no_tag(name);
    const fs::path link = layout_->path(name), target = Layout::tag_target(name.repository(), *digest);
    std::error_code absent;
    if (fs::read_symlink(link, absent) != target) os::publish_symlink(link, target);
  } else if (lies_in_tree(name.kind())) {
    os::PendingFile file = scratch(name.kind());
    file.write(bytes);
    put(name, std::move(file));
  } else {
    os::write_file(layout_->path(name), bytes, is_durable(name.kind()));
  }
}

os::PendingFile DirectoryStore::scratch(Kind kind) const {
  return os::PendingFile(lies_in_tree(kind) ? layout_->incoming() : layout_->directory(kind));
}

void DirectoryStore::put(const ObjectName& name, os::PendingFile file) const {
  file.publish(layout_->path(name), is_durable(name.kind()));
}

bool DirectoryStore::touch(const ObjectName& name) const {
  return os::touch(layout_->path(name));
}

void DirectoryStore::list(Kind kind, std::string_view prefix, const Visit& visit) const {
  walk(*layout_, kind, prefix, [&](const ObjectName& name) {
    const auto info = status(name);
    return !info || visit(name, *info);
  });
}

bool DirectoryStore::remove(const ObjectName& name) const {
  const fs::path path = layout_->path(name);
  const bool removed = unlink(path.c_str()) == 0;
  if (!removed && errno != ENOENT && errno != ENOTDIR) os::throw_errno("remove", path);
  if (removed && is_below_digest(name.kind())) rmdir(path.parent_path().c_str());
  return removed;
}

LockHandle DirectoryStore::lock(std::string_view name, const std::stop_token& stop, LockMode mode,
                                std::chrono::seconds limit) const {
  return std::make_unique<FileLock>(os::Lock(layout_->lock_named(name), stop, mode, limit));
}

LockHandle DirectoryStore::try_lock(std::string_view name, LockMode mode) const {
  auto lock = os::Lock::try_lock(layout_->lock_named(name), mode);
  return lock ? std::make_unique<FileLock>(*std::move(lock)) : nullptr;
}

bool DirectoryStore::is_locked(std::string_view name) const {
  return os::Lock::is_held(layout_->lock_named(name));
}

bool DirectoryStore::keeps(Kind kind) const {
  return lies_in_tree(kind) || !layout_->state.empty();
}

std::string DirectoryStore::location(const ObjectName& name) const {
  return (name.key().empty() ? layout_->directory(name.kind()) : layout_->path(name)).string();
}

std::optional<os::DiskSpace> DirectoryStore::room(Kind kind) const {
  return os::disk_space(lies_in_tree(kind) ? layout_->tree : layout_->state);
}

bool DirectoryStore::link(const ObjectName& name, const os::Fd& file) const {
  const fs::path path = layout_->path(name);
  os::make_directories(path.parent_path());
  const std::string opened = fmt::format("/proc/self/fd/{}", file.get());
  return linkat(AT_FDCWD, opened.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

void DirectoryStore::sync() const {
  const os::Fd fd(::open(layout_->tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || syncfs(fd.get()) != 0) os::throw_errno("sync", layout_->tree);
}

void DirectoryStore::remove_scratch_directory() const {
  rmdir(layout_->incoming().c_str());
}

}  // namespace nixery::tree
