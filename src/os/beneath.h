// Opening files below a directory whose contents are not trusted: no symlink is ever followed.
//
// Uses openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS. Kernels before Linux 5.6 do not
// have it (ENOSYS) and older container sandboxes refuse it (EPERM). The fallback opens each component with O_NOFOLLOW:
// one system call for each component, the same results.
//
// Thread-safe.
#pragma once

#include <string>

#include "os/fd.h"

namespace nixery::os {

// Opens `path`, relative to `directory`, with `flags` and O_NOFOLLOW | O_CLOEXEC | O_NOCTTY. `path` is one or more
// names with single slashes between them. Returns an empty Fd and sets errno on failure: ELOOP for a symlink anywhere
// in `path` (but with O_PATH, a last component that is a symlink is opened itself), EXDEV for a path that is absolute
// or has a "..", else what openat(2) gives.
Fd open_beneath(int directory, const std::string& path, int flags);

// The same without openat2(2).
Fd open_beneath_by_component(int directory, const std::string& path, int flags);

}  // namespace nixery::os
