#include "doctor/directory_checks.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "os/directory.h"
#include "os/file.h"
#include "os/path.h"
#include "quantity.h"

namespace nixery::doctor {

namespace {

constexpr std::uint64_t bytes_needed = 256'000'000, bytes_wanted = 5'000'000'000;
constexpr std::uint64_t inodes_needed = 1'000;
constexpr std::chrono::hours cancelled{24};  // as maintenance/orphans has it

fs::path nearest_existing(fs::path path) {
  std::error_code absent;
  while (!fs::exists(path, absent) && path.has_relative_path()) path = path.parent_path();
  return path;
}

// The first file somewhere below `directory`, looked for no deeper than the tree's own levels.
std::optional<fs::path> any_file(const fs::path& directory, unsigned depth = 3) {
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(directory, absent)) {
    if (entry.is_regular_file(absent)) return entry.path();
    if (depth > 0 && entry.is_directory(absent) && !entry.is_symlink(absent))
      if (auto file = any_file(entry.path(), depth - 1)) return file;
  }
  return std::nullopt;
}

bool may_work_in(const fs::path& directory) {
  return access(directory.c_str(), R_OK | W_OK | X_OK) == 0;
}

std::vector<fs::path> directories_in(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(directory, absent))
    if (std::error_code gone; entry.is_directory(gone) && !entry.is_symlink(gone)) found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

// The first path below TREE or STATE that this user may not write, although a worker does. One directory of each
// sharded set is tried. Sources are skipped: the author of a checkout decides about its modes.
std::optional<fs::path> barred_below(const fs::path& top) {
  for (const fs::path& part : directories_in(top)) {
    if (!may_work_in(part)) return part;
    if (part.filename() == "sources") continue;
    for (auto within = directories_in(part); !within.empty(); within = directories_in(within.front()))
      if (!may_work_in(within.front())) return within.front();
  }
  std::error_code absent;
  for (const auto& lock : fs::directory_iterator(top / "locks", absent))
    if (access(lock.path().c_str(), R_OK | W_OK) != 0 && errno == EACCES) return lock.path();
  return std::nullopt;
}

// `name` is what the finding is called, `barred` what the worker may not write.
Finding foreign(const std::string& name, const fs::path& barred, const fs::path& directory, const os::User& worker) {
  struct stat status {};
  const bool known = stat(barred.c_str(), &status) == 0;
  return failure(name,
                 fmt::format("{} may not write into {}{}", worker.name, barred.string(),
                             known ? ", which belongs to " + os::user_of(status.st_uid).name : ""),
                 fmt::format("chown -R {} {}", worker.name, directory.string()),
                 fmt::format("chown -R {} {}", worker.name, shell_word(directory)));
}

}  // namespace

Finding check_directory(const std::string& name, const fs::path& directory, const os::User& worker) {
  const std::string own = fmt::format("install -d -o {} {}", worker.name, directory.string());
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) {
    if (const int code = errno; code != ENOENT) {
      const auto closed = os::barrier(worker, directory);
      return failure(
          name, fmt::format("{} cannot be looked at by {}: {}", directory.string(), worker.name, std::strerror(code)),
          fmt::format("let {} enter every directory on the way to it", worker.name),
          closed ? fmt::format("chmod a+x {}", shell_word(*closed)) : "");
    }
    const fs::path parent = nearest_existing(directory);
    if (access(parent.c_str(), W_OK | X_OK) == 0)
      return ok(name, fmt::format("{} is not there yet; {} may make it in {}", directory.string(), worker.name,
                                  parent.string()));
    return failure(
        name,
        fmt::format("{} is not there, and {} may not make it in {}", directory.string(), worker.name, parent.string()),
        own, fmt::format("install -d -o {} {}", worker.name, shell_word(directory)));
  }
  if (!S_ISDIR(status.st_mode))
    return failure(name, fmt::format("{} is no directory", directory.string()), "name a directory");
  if (!may_work_in(directory)) {
    const int code = errno;
    if (code == EROFS)
      return failure(
          name, fmt::format("{} is on a file system that is mounted read-only", directory.string()),
          "mount it for writing (mount -o remount,rw), or name another directory; after a disk's failure, see "
          "dmesg. In systemd's sandbox: ReadWritePaths=");
    return foreign(name, directory, directory, worker);
  }
  if (const auto barred = barred_below(directory)) return foreign(name, *barred, directory, worker);
  if (status.st_uid != worker.uid && worker.uid != 0)
    return warning(
        name,
        fmt::format("{} belongs to {}, not to {}, who may write into it, though", directory.string(),
                    os::user_of(status.st_uid).name, worker.name),
        fmt::format("chown -R {} {}, unless several users share it on purpose", worker.name, directory.string()),
        fmt::format("chown -R {} {}", worker.name, shell_word(directory)));
  return ok(name, fmt::format("{} can write into {}", worker.name, directory.string()));
}

Finding check_layout(const fs::path& tree, const fs::path& state) {
  if (os::is_below(state, tree) || os::is_below(tree, state))
    return failure("tree.layout",
                   fmt::format("NIXERY_TREE {} and NIXERY_STATE {} lie in one another", tree.string(), state.string()),
                   "give them directories side by side");
  struct stat top {};
  if (stat(tree.c_str(), &top) != 0) return ok("tree.layout", "two directories side by side");
  for (const char* part : {"incoming", "blobs", "manifests", "referrers", "tags"}) {
    struct stat status {};
    const fs::path directory = tree / part;
    if (stat(directory.c_str(), &status) == 0 && status.st_dev != top.st_dev)
      return failure("tree.layout", fmt::format("{} is a file system of its own", directory.string()),
                     "files are written into TREE/incoming and then renamed, which does not go from one file system to "
                     "another: mount one for all of NIXERY_TREE (a host that only serves may mount what it likes)");
  }
  return ok("tree.layout", "two directories side by side, the tree on one file system");
}

std::vector<Finding> check_reading(const Setup& setup) {
  const fs::path& tree = setup.config().tree;
  std::error_code absent;
  if (!setup.nginx.user || !fs::exists(tree, absent)) return {};
  const os::User& user = *setup.nginx.user;
  if (const auto wall = os::barrier(user, tree / "x"))
    return {failure("tree.nginx", fmt::format("nginx's user {} may not enter {}", user.name, wall->string()),
                    fmt::format("chmod a+x {}: every directory on the way to the tree needs it", wall->string()),
                    fmt::format("chmod a+x {}", shell_word(*wall)))};
  for (const char* part : {"blobs", "manifests", "referrers", "tags"}) {
    const auto file = fs::exists(tree / part, absent) ? any_file(tree / part) : std::nullopt;
    if (!file) continue;
    const auto wall = os::barrier(user, *file);
    if (wall || !os::may(user, *file, {.read = true}))
      return {failure("tree.nginx",
                      wall ? fmt::format("nginx's user {} may not enter {}", user.name, wall->string())
                           : fmt::format("nginx's user {} may not read {}", user.name, file->string()),
                      fmt::format("chmod -R a+rX {}, and let the worker's umask be 022", tree.string()),
                      fmt::format("chmod -R a+rX {}", shell_word(tree)))};
  }
  return {ok("tree.nginx", fmt::format("nginx's user {} can read {}", user.name, tree.string()))};
}

Finding check_orphans(const fs::path& tree) {
  const fs::path incoming = tree / "incoming";
  const auto now = std::chrono::system_clock::now();
  std::size_t count = 0;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(incoming, absent)) {
    const auto status = os::status_of(entry.path());
    if (status && now - status->modified > cancelled) ++count;
  }
  if (count == 0) return ok("tree.orphans", "nothing was left behind half-written");
  return warning("tree.orphans", fmt::format("{} files in {} were begun more than a day ago", count, incoming.string()),
                 "a worker was killed while it wrote: `nixery gc` removes them, `nixery verify` looks whether all else "
                 "is well");
}

Finding judge_room(const std::string& name, const std::string& where, const Room& room) {
  const std::string seen = room.inodes_in_all == 0
                               ? fmt::format("{}: {} free", where, format_size(room.bytes))
                               : fmt::format("{}: {} and {} inodes free", where, format_size(room.bytes), room.inodes);
  const bool few_inodes = room.inodes_in_all > 0 && room.inodes < std::max(inodes_needed, room.inodes_in_all / 20);
  if (room.bytes < room.least)
    return failure(
        name, fmt::format("{}, which is less than NIXERY_MIN_FREE, {}", seen, format_size(room.least)),
        "make room (nixery gc --dry-run --max-size 50G lists what would be removed), or set NIXERY_MIN_FREE lower: "
        "/readyz says that the worker is not ready");
  if (room.bytes < bytes_needed || (room.inodes_in_all > 0 && room.inodes < inodes_needed))
    return failure(
        name, seen,
        "make room: nixery gc --dry-run --max-size 50G lists what would be removed; nix-collect-garbage frees the "
        "store");
  if (room.bytes < bytes_wanted || few_inodes)
    return warning(
        name, seen,
        "an image of a few GB may not find room: let old images go by themselves, with NIXERY_GC_SECONDS and "
        "NIXERY_GC_MAX_SIZE, or give it a larger disk");
  return ok(name, seen);
}

std::vector<Finding> check_room(const Setup& setup) {
  std::vector<Finding> findings;
  std::set<dev_t> reported;
  for (const auto& [name, place] : {std::pair<std::string, fs::path>{"tree.room", setup.config().tree},
                                    {"state.room", setup.config().state},
                                    {"nix.room", "/nix/store"}}) {
    const fs::path there = nearest_existing(place);
    struct stat status {};
    struct statvfs numbers {};
    if (stat(there.c_str(), &status) != 0 || statvfs(there.c_str(), &numbers) != 0) {
      findings.push_back(failure(name, fmt::format("{}: {}", there.string(), std::strerror(errno)),
                                 "see that its file system is mounted"));
    } else if (reported.insert(status.st_dev).second) {
      findings.push_back(judge_room(name, place.string(),
                                    {std::uint64_t{numbers.f_bavail} * numbers.f_frsize, numbers.f_favail,
                                     numbers.f_files, name == "nix.room" ? 0 : setup.config().min_free}));
    }
  }
  return findings;
}

}  // namespace nixery::doctor
