#include "doctor/lock_checks.h"

#include <doctest/doctest.h>

#include "temporary_directory.h"

using namespace nixery::doctor;
using nixery::test::TemporaryDirectory;

TEST_CASE("the mount of a path is the last one of the deepest point") {
  constexpr std::string_view mounts =
      "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,errors=remount-ro\n"
      "40 22 0:44 / /srv rw - nfs4 host:/srv rw,vers=4.2,local_lock=none\n"
      "41 40 0:45 / /srv/two\\040words rw shared:7 - fuse.sshfs user@host:/ rw,user_id=0\n"
      "42 22 0:46 / /mnt rw - ext4 /dev/vdb rw\n"
      "43 42 0:47 / /mnt rw - cifs //host/x rw,nobrl\n"
      "broken line\n";
  CHECK(mount_of("/var/lib/nixery", mounts)->type == "ext4");
  CHECK(mount_of("/srv/nixery", mounts)->options == "rw,vers=4.2,local_lock=none");
  CHECK(mount_of("/srv", mounts)->type == "nfs4");
  CHECK(mount_of("/srvx", mounts)->type == "ext4");
  CHECK(mount_of("/srv/two words/tree", mounts)->type == "fuse.sshfs");
  CHECK(mount_of("/mnt/tree", mounts)->type == "cifs");
  CHECK_FALSE(mount_of("/x", ""));
}

TEST_CASE("file systems whose locks other hosts do not see are recognised") {
  const auto local = [](const char* type, const char* options) {
    return !host_local_locks({"/x", type, options}).empty();
  };
  CHECK(local("nfs", "rw,vers=3,nolock,local_lock=all"));
  CHECK(local("nfs4", "rw,local_lock=flock"));
  CHECK(local("nfs", "rw,vers=3,local_lock=posix"));
  CHECK_FALSE(local("nfs4", "rw,vers=4.2,local_lock=none"));
  CHECK(local("cifs", "rw,nobrl"));
  CHECK_FALSE(local("cifs", "rw"));
  CHECK(local("lustre", "rw,localflock"));
  CHECK_FALSE(local("lustre", "rw,flock"));
  CHECK(local("fuse.sshfs", "rw"));
  CHECK(local("9p", "rw,trans=virtio"));
  for (const char* type : {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "ceph", "gfs2"})
    CHECK_FALSE(local(type, "rw"));
}

TEST_CASE("locks of a local file system exclude others, and the check leaves no files") {
  const TemporaryDirectory directory;
  const auto findings = check_locks("state.locks", directory.path());
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].verdict == Verdict::ok);
  CHECK_MESSAGE(findings[0].seen.starts_with("locks work in "), findings[0].seen);
  CHECK(std::filesystem::is_empty(directory.path()));
  CHECK(check_locks("state.locks", directory.path() / "absent").empty());
}
