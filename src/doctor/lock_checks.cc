#include "doctor/lock_checks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "error.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/path.h"

namespace nixery::doctor {

namespace {

// "\040" is a blank.
std::string without_escapes(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(separator));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

bool has_option(const Mount& mount, std::initializer_list<std::string_view> wanted) {
  for (const std::string_view option : split(mount.options, ','))
    if (std::find(wanted.begin(), wanted.end(), option) != wanted.end()) return true;
  return false;
}

// A file without a name, or, where the file system has none, one that is removed at once: two descriptors that were
// opened apart.
struct TwoDescriptors {
  os::Fd first, second;
};

TwoDescriptors open_twice(const fs::path& directory) {
  TwoDescriptors two;
  two.first = os::Fd(open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (two.first) {
    two.second = os::Fd(open(fmt::format("/proc/self/fd/{}", two.first.get()).c_str(), O_RDWR | O_CLOEXEC));
    if (two.second) return two;
  }
  std::string name = (directory / ".nixery-doctor-XXXXXX").string();
  two.first = os::Fd(mkostemp(name.data(), O_CLOEXEC));
  if (!two.first) os::throw_errno("make a file in", directory);
  two.second = os::Fd(open(name.c_str(), O_RDWR | O_CLOEXEC));
  const int code = errno;
  unlink(name.c_str());
  errno = code;
  if (!two.second) os::throw_errno("open a file in", directory);
  return two;
}

// The two kinds of os/lock.h. A file system may have one and not the other.
enum class Kind { file, byte };

std::string_view name_of(Kind kind) {
  return kind == Kind::file ? "flock locks" : "byte-range locks";
}

enum class Attempt { acquired, refused, failed };

Attempt set_lock(int fd, Kind kind, short type) {
  int done = 0;
  if (kind == Kind::file) {
    done = flock(fd, type == F_UNLCK ? LOCK_UN : LOCK_EX | LOCK_NB);
  } else {
    struct flock range {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_len = 1;
    done = fcntl(fd, F_OFD_SETLK, &range);
  }
  if (done == 0) return Attempt::acquired;
  return errno == EWOULDBLOCK || errno == EACCES ? Attempt::refused : Attempt::failed;
}

// The same in a process of its own, which calls nothing but what may be called after fork().
Attempt lock_elsewhere(int fd, Kind kind) {
  const pid_t child = fork();
  if (child < 0) return Attempt::failed;
  if (child == 0) _exit(static_cast<int>(set_lock(fd, kind, F_WRLCK)));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? static_cast<Attempt>(WEXITSTATUS(status)) : Attempt::failed;
}

// What is wrong with locks of this kind; empty if nothing is.
std::string fault_of(const fs::path& directory, Kind kind) {
  const TwoDescriptors two = open_twice(directory);
  if (set_lock(two.first.get(), kind, F_WRLCK) != Attempt::acquired)
    return fmt::format("{} do not work in {}: {}", name_of(kind), directory.string(), std::strerror(errno));
  const Attempt here = set_lock(two.second.get(), kind, F_WRLCK);
  if (here == Attempt::acquired) set_lock(two.second.get(), kind, F_UNLCK);
  if (here != Attempt::refused || lock_elsewhere(two.second.get(), kind) != Attempt::refused)
    return fmt::format("{} in {} keep nobody out: builds and collections would destroy each other's work",
                       name_of(kind), directory.string());
  set_lock(two.first.get(), kind, F_UNLCK);
  if (lock_elsewhere(two.second.get(), kind) != Attempt::acquired)
    return fmt::format("{} in {} are not released", name_of(kind), directory.string());
  return {};
}

constexpr const char* use_another =
    "put NIXERY_TREE and NIXERY_STATE on a file system with working locks: a local one, or NFS 4";

}  // namespace

std::optional<Mount> mount_of(const fs::path& path, std::string_view mountinfo) {
  std::optional<Mount> found;
  for (const std::string_view line : split(mountinfo, '\n')) {
    // 36 35 98:0 /root /point options [optional fields] - type source options
    const auto fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 4) continue;
    Mount mount{without_escapes(fields[4]), std::string(dash[1]), std::string(dash[3])};
    // Of two at one place, the later is the one that is seen.
    if (os::is_below(path, mount.point) &&
        (!found || !os::is_below(found->point, mount.point) || found->point == mount.point))
      found = std::move(mount);
  }
  return found;
}

std::string host_local_locks(const Mount& mount) {
  const std::string& type = mount.type;
  if (type.starts_with("nfs")) {
    if (has_option(mount, {"nolock", "local_lock=all", "local_lock=flock", "local_lock=posix"}))
      return "it is mounted with nolock or local_lock";
    return {};
  }
  if (type == "cifs" || type == "smb3") return has_option(mount, {"nobrl"}) ? "it is mounted with nobrl" : "";
  if (type == "lustre") return has_option(mount, {"flock"}) ? "" : "it is mounted without flock";
  if (type == "gfs2" || type == "ocfs2")
    return has_option(mount, {"localflocks"}) ? "it is mounted with localflocks" : "";
  constexpr std::array unknown = {"9p", "virtiofs", "vboxsf", "fuse", "fuseblk", "afs", "coda"};
  if (type.starts_with("fuse.") || std::find(unknown.begin(), unknown.end(), type) != unknown.end())
    return "such a file system may keep locks to one host";
  return {};
}

std::vector<Finding> check_locks(const std::string& name, const fs::path& directory) {
  if (access(directory.c_str(), W_OK | X_OK) != 0) return {};
  for (const Kind kind : {Kind::file, Kind::byte})
    if (const std::string fault = fault_of(directory, kind); !fault.empty()) return {failure(name, fault, use_another)};

  const auto mount = mount_of(fs::canonical(directory), os::read_if_exists("/proc/self/mountinfo").value_or(""));
  const std::string type = mount ? mount->type : "unknown";
  if (const std::string why = mount ? host_local_locks(*mount) : ""; !why.empty())
    return {warning(
        name,
        fmt::format("locks in {} may hold on this host alone: the file system is {}, and {}", directory.string(), type,
                    why),
        "let one host alone build and collect garbage there, or use a file system whose locks hold between hosts "
        "(NFS 4 with local_lock=none)")};
  return {ok(name, fmt::format("locks work in {} ({})", directory.string(), type))};
}

}  // namespace nixery::doctor
