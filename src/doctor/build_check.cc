#include "doctor/build_check.h"

#include <fmt/format.h>
#include <stdlib.h>

#include "doctor/systemd_unit.h"
#include "error.h"
#include "nix/build_probe.h"
#include "nix/fault.h"
#include "nix/installation.h"

namespace nixery::doctor {

namespace {

constexpr const char* name = "nix.build";

// What stands in quotes after `before`.
std::string quoted_after(std::string_view text, std::string_view before) {
  const auto at = text.find(before);
  if (at == text.npos) return {};
  const auto start = at + before.size(), end = text.find('\'', start);
  return end == text.npos ? "" : std::string(text.substr(start, end - start));
}

bool is_plain_name(std::string_view text) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !text.empty() && text.find_first_not_of(plain) == text.npos;
}

struct TemporaryDirectory {
  TemporaryDirectory() {
    if (!mkdtemp(path.data())) throw Error(Failure::unavailable, "no directory can be made in /tmp");
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  std::string path = "/tmp/nixery-doctor-XXXXXX";
};

}  // namespace

std::string build_users_command(std::string_view group) {
  if (!is_plain_name(group)) return {};
  return fmt::format(
      "getent group {0} >/dev/null || groupadd -r {0}; for n in 1 2 3 4 5 6 7 8 9 10; do useradd -r -M -N -g {0} -G "
      "{0} -d "
      "/var/empty -s /usr/sbin/nologin -c \"Nix build user $n\" {0}$n; done",
      group);
}

Finding judge_build(const std::string& trouble) {
  if (trouble.empty()) return ok(name, "nix can build: a tiny derivation was");
  const std::string seen = fmt::format("nix cannot build: {}", trouble);
  if (const auto at = trouble.find(" has the setgid bit"); at != trouble.npos)
    return failure(
        name, seen,
        "take the bit away, and see who sets it (in Kubernetes, fsGroup of the pod does on its volumes); or set "
        "filter-syscalls = false in nix.conf",
        fmt::format("chmod g-s {}", shell_word(trouble.substr(0, at))));
  switch (nix::fault_in(trouble).value_or(nix::NixFault::other)) {
    case nix::NixFault::disk:
      return failure(
          name, seen,
          "make room on the file system of /nix: nix-collect-garbage removes unused store paths; if it cannot "
          "start, delete something else there first or enlarge the disk; dmesg reports a failing disk");
    case nix::NixFault::build_users: {
      std::string group = quoted_after(trouble, "the group '");
      if (group.empty()) group = quoted_after(trouble, "the build users group '");
      return failure(name, seen,
                     "make the group and some users in it, as Nix's own set-up does (Debian: apt install "
                     "nix-setup-systemd); for a trial, build-users-group = in nix.conf",
                     build_users_command(group));
    }
    case nix::NixFault::limits:
      return failure(
          name, seen,
          "give Nix more: LimitNOFILE= and TasksMax= of the unit of nix-daemon, or of the worker where it builds "
          "itself; ulimit of a shell");
    case nix::NixFault::sandbox:
      return failure(
          name, seen,
          "let Nix make namespaces (kernel.unprivileged_userns_clone, the container's security settings), or set "
          "sandbox = false where all packages are trusted");
    case nix::NixFault::gc_roots:
      return failure(name, seen,
                     fmt::format("see that {} is a directory that Nix can write",
                                 (nix::state_directory() / "gcroots/auto").string()));
    case nix::NixFault::store:
      return failure(name, seen,
                     fmt::format("see that {} belongs to who builds; nix-store --verify checks Nix's database",
                                 nix::state_directory().string()));
    case nix::NixFault::daemon:
      return failure(name, seen, "start nix-daemon, and see its log (journalctl -u nix-daemon)",
                     restart_command({"nix-daemon.socket"}));
    default: return failure(name, seen, "fix what the message names: no image can be built until then");
  }
}

std::vector<Finding> check_build(const Setup& setup) {
  std::error_code absent;
  const auto [daemon, other] = nix::store_access();
  if (daemon.empty() && other.empty() && !fs::exists(nix::state_directory() / "db", absent)) return {};
  const TemporaryDirectory directory;
  nix::ProbeSettings settings{
      fs::path(directory.path) / "result", setup.config().nix.substitute_only, setup.deadline, {}};
  if (os::can_become(setup.worker)) settings.environment = {{"HOME", setup.worker.home}, {"USER", setup.worker.name}};
  std::optional<std::string> trouble = nix::probe_build(settings, {});
  if (!trouble)
    return {warning(name, "whether nix can build could not be found out: it is busy", "run this again later")};
  return {judge_build(*trouble)};
}

}  // namespace nixery::doctor
