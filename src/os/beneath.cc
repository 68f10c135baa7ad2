#include "os/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace nixery::os {

namespace {

constexpr int always = O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;

int openat2(int directory, const char* path, int flags) {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_NOFOLLOW | O_CLOEXEC);
  // O_PATH takes only the flags that concern the look-up.
  if ((flags & O_PATH) == 0) how.flags |= O_NOCTTY;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = syscall(SYS_openat2, directory, path, &how, sizeof how);
    if (fd >= 0 || errno != EINTR) return static_cast<int>(fd);
  }
}

bool has_openat2() {
  static const bool has = static_cast<bool>(Fd(openat2(AT_FDCWD, ".", O_PATH | O_DIRECTORY)));
  return has;
}

// Sets errno where it returns false.
bool stays_below(std::string_view path) {
  errno = path.empty() ? ENOENT : EXDEV;
  if (path.empty() || path.front() == '/') return false;
  return ('/' + std::string(path) + '/').find("/../") == std::string::npos;
}

}  // namespace

Fd open_beneath_by_component(int directory, const std::string& path, int flags) {
  if (!stays_below(path)) return {};
  Fd parent;
  int at = directory;
  std::size_t begin = 0;
  for (std::size_t slash; (slash = path.find('/', begin)) != path.npos; begin = slash + 1) {
    Fd next(openat(at, path.substr(begin, slash - begin).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat info;
    if (!next || fstat(next.get(), &info) != 0) return {};
    if (S_ISLNK(info.st_mode)) {
      errno = ELOOP;
      return {};
    }
    parent = std::move(next);
    at = parent.get();
  }
  for (;;) {
    Fd fd(openat(at, path.substr(begin).c_str(), flags | always));
    if (fd || errno != EINTR) return fd;
  }
}

Fd open_beneath(int directory, const std::string& path, int flags) {
  if (!has_openat2()) return open_beneath_by_component(directory, path, flags);
  if (!stays_below(path)) return {};
  return Fd(openat2(directory, path.c_str(), flags));
}

}  // namespace nixery::os
