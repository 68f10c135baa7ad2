// Whether locks (os/lock.h) keep builds and collections apart on a file system: some ignore locks, and some network
// file systems keep those of one kind, or of both, to one host.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/finding.h"

namespace nixery::doctor {

namespace fs = std::filesystem;

struct Mount {
  fs::path point;
  std::string type;     // "nfs4", "fuse.sshfs"
  std::string options;  // of the file system: "rw,vers=4.2,local_lock=none"
};

// The mount that holds `path`, which is absolute, in the text of /proc/self/mountinfo (proc(5)).
std::optional<Mount> mount_of(const fs::path& path, std::string_view mountinfo);

// Why a lock taken on one host does not keep another host out; empty where it does, or where the file system is of one
// host alone.
std::string host_local_locks(const Mount& mount);

// Takes a lock of each kind twice in `directory`, by two descriptors and by two processes. Within act_as(worker);
// leaves nothing. No finding where nothing can be written there, which other checks report.
std::vector<Finding> check_locks(const std::string& name, const fs::path& directory);

}  // namespace nixery::doctor
