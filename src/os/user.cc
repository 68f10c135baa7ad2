#include "os/user.h"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <sstream>
#include <thread>

#include "error.h"
#include "os/file.h"
#include "text/ascii.h"
#include "text/lines.h"

namespace nixery::os {

namespace {

constexpr std::size_t max_entry_size = 64u << 20;  // bytes of a user or group; a group may have many thousand members

std::vector<gid_t> groups_of(const char* name, gid_t gid) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  while (getgrouplist(name, gid, groups.data(), &count) < 0) groups.resize(static_cast<std::size_t>(count));
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

// Calls a reentrant look-up (getpwnam_r and its like) with a large enough buffer and returns `read` of the entry;
// nullopt if there is none.
template <typename Entry, typename LookUp, typename Read>
auto look_up(const LookUp& find, const Read& read) -> std::optional<decltype(read(std::declval<const Entry&>()))> {
  std::vector<char> buffer(1024);
  for (;;) {
    Entry entry{};
    Entry* found = nullptr;
    const int error = find(&entry, buffer.data(), buffer.size(), &found);
    if (error == ERANGE && buffer.size() < max_entry_size) {
      buffer.resize(2 * buffer.size());
    } else if (error != EINTR) {
      return found ? std::optional(read(*found)) : std::nullopt;
    }
  }
}

User user_in(const passwd& entry) {
  return {entry.pw_name, entry.pw_uid, entry.pw_gid, groups_of(entry.pw_name, entry.pw_gid), entry.pw_dir};
}

bool asked(const fs::path& path, Rights rights) {
  return access(path.c_str(), (rights.read ? R_OK : 0) | (rights.write ? W_OK : 0) | (rights.enter ? X_OK : 0)) == 0;
}

}  // namespace

std::optional<User> user_named(const std::string& name) {
  return look_up<passwd>([&](auto... rest) { return getpwnam_r(name.c_str(), rest...); }, user_in);
}

User user_of(uid_t uid) {
  auto user = look_up<passwd>([&](auto... rest) { return getpwuid_r(uid, rest...); }, user_in);
  return user ? *std::move(user) : User{std::to_string(uid), uid, uid, {uid}, {}};
}

std::size_t members_of_group(const std::string& name) {
  const auto count = [](const group& entry) {
    std::size_t members = 0;
    for (char** member = entry.gr_mem; *member; ++member) ++members;
    return members;
  };
  return look_up<group>([&](auto... rest) { return getgrnam_r(name.c_str(), rest...); }, count).value_or(0);
}

std::string group_name(gid_t gid) {
  const auto name = [](const group& entry) { return std::string(entry.gr_name); };
  return look_up<group>([&](auto... rest) { return getgrgid_r(gid, rest...); }, name).value_or(std::to_string(gid));
}

User current_user() {
  User user = user_of(geteuid());
  user.gid = getegid();
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(0, getgroups(0, nullptr))));
  groups.resize(static_cast<std::size_t>(std::max(0, getgroups(static_cast<int>(groups.size()), groups.data()))));
  groups.push_back(user.gid);
  user.groups = std::move(groups);
  return user;
}

User with_groups_of_running(User user, const std::string& program) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    if (!text::all(entry.path().filename().string(), text::is_digit)) continue;
    try {
      if (os::read_if_exists(entry.path() / "comm") != program + "\n") continue;
      const std::string status = os::read_if_exists(entry.path() / "status").value_or("");
      const auto numbers = [&](std::string_view name) {
        const auto at = status.find(fmt::format("\n{}:", name));
        const auto start = at == status.npos ? status.size() : at + name.size() + 2;
        std::istringstream line(std::string(text::first_line(std::string_view(status).substr(start))));
        return std::vector<gid_t>(std::istream_iterator<gid_t>(line), {});
      };
      const auto uids = numbers("Uid"), groups = numbers("Groups");
      if (!uids.empty() && uids[0] == user.uid) user.groups.insert(user.groups.end(), groups.begin(), groups.end());
    } catch (const Error&) {
      // The process has ended meanwhile.
    }
  }
  std::sort(user.groups.begin(), user.groups.end());
  user.groups.erase(std::unique(user.groups.begin(), user.groups.end()), user.groups.end());
  return user;
}

bool can_become(const User& user) {
  if (geteuid() == user.uid) return true;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  constexpr unsigned needed = 1U << CAP_SETUID | 1U << CAP_SETGID;
  return geteuid() == 0 && syscall(SYS_capget, &header, data) == 0 && (data[0].effective & needed) == needed;
}

// glibc's wrappers would change every thread of the process.
void become(const User& user) {
  if (syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0 ||
      syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0 ||
      syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0)
    throw Error(Failure::unavailable, fmt::format("cannot act as {}: {}", user.name, std::strerror(errno)));
}

void act_as(const User& user, const std::function<void()>& work) {
  if (geteuid() == user.uid || !can_become(user)) return work();
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      become(user);
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

bool allowed_by_mode(const struct stat& status, const User& user, Rights rights) {
  if (user.uid == 0) return true;
  const bool in_group = std::ranges::find(user.groups, status.st_gid) != user.groups.end();
  const unsigned bits = (status.st_mode >> (status.st_uid == user.uid ? 6 : in_group ? 3 : 0)) & 7;
  return (!rights.read || (bits & 4)) && (!rights.write || (bits & 2)) && (!rights.enter || (bits & 1));
}

bool may(const User& user, const fs::path& path, Rights rights) {
  if (!can_become(user)) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 && allowed_by_mode(status, user, rights);
  }
  bool allowed = false;
  act_as(user, [&] { allowed = asked(path, rights); });
  return allowed;
}

std::optional<fs::path> barrier(const User& user, const fs::path& path) {
  fs::path way;
  for (const fs::path& part : path.parent_path()) {
    way /= part;
    std::error_code absent;
    if (fs::is_directory(way, absent) && !may(user, way, {.enter = true})) return way;
  }
  return std::nullopt;
}

}  // namespace nixery::os
