#include "doctor/account.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "error.h"

namespace nixery::doctor {

namespace {

std::vector<gid_t> groups_of(const char* name, gid_t gid) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  while (getgrouplist(name, gid, groups.data(), &count) < 0) groups.resize(static_cast<std::size_t>(count));
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

Account account_in(const passwd& entry) {
  return {entry.pw_name, entry.pw_uid, entry.pw_gid, groups_of(entry.pw_name, entry.pw_gid), entry.pw_dir};
}

// glibc's wrappers would change every thread of the process.
void become(const Account& account) {
  if (syscall(SYS_setgroups, account.groups.size(), account.groups.data()) != 0 ||
      syscall(SYS_setresgid, account.gid, account.gid, account.gid) != 0 ||
      syscall(SYS_setresuid, account.uid, account.uid, account.uid) != 0)
    throw Error(Failure::unavailable, fmt::format("cannot act as {}: {}", account.name, std::strerror(errno)));
}

bool asked(const fs::path& path, Rights rights) {
  return access(path.c_str(), (rights.read ? R_OK : 0) | (rights.write ? W_OK : 0) | (rights.enter ? X_OK : 0)) == 0;
}

}  // namespace

std::optional<Account> account_named(const std::string& name) {
  if (const passwd* entry = getpwnam(name.c_str())) return account_in(*entry);
  return std::nullopt;
}

Account account_of(uid_t uid) {
  if (const passwd* entry = getpwuid(uid)) return account_in(*entry);
  return {std::to_string(uid), uid, uid, {uid}, {}};
}

Account ourselves() {
  Account account = account_of(geteuid());
  account.gid = getegid();
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(0, getgroups(0, nullptr))));
  groups.resize(static_cast<std::size_t>(std::max(0, getgroups(static_cast<int>(groups.size()), groups.data()))));
  groups.push_back(account.gid);
  account.groups = std::move(groups);
  return account;
}

bool can_become(const Account& account) {
  return geteuid() == 0 || geteuid() == account.uid;
}

void act_as(const Account& account, const std::function<void()>& work) {
  if (geteuid() != 0 || account.uid == 0) return work();
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      become(account);
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

bool allowed_by_mode(const struct stat& status, const Account& account, Rights rights) {
  if (account.uid == 0) return true;
  const bool in_group = std::ranges::find(account.groups, status.st_gid) != account.groups.end();
  const unsigned bits = (status.st_mode >> (status.st_uid == account.uid ? 6 : in_group ? 3 : 0)) & 7;
  return (!rights.read || (bits & 4)) && (!rights.write || (bits & 2)) && (!rights.enter || (bits & 1));
}

bool may(const Account& account, const fs::path& path, Rights rights) {
  if (!can_become(account)) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 && allowed_by_mode(status, account, rights);
  }
  bool allowed = false;
  act_as(account, [&] { allowed = asked(path, rights); });
  return allowed;
}

std::optional<fs::path> barrier(const Account& account, const fs::path& path) {
  fs::path way;
  for (const fs::path& part : path.parent_path()) {
    way /= part;
    std::error_code absent;
    if (fs::is_directory(way, absent) && !may(account, way, {.enter = true})) return way;
  }
  return std::nullopt;
}

}  // namespace nixery::doctor
