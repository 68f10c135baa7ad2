// Users (the worker's, the web server's) and their permissions on files.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace nixery::os {

namespace fs = std::filesystem;

struct User {
  std::string name;  // "nixery", or the number if it has no name
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // gid among them
  std::string home;           // may be empty
};

// These are thread-safe.
std::optional<User> user_named(const std::string& name);
User user_of(uid_t uid);
// Number of users in the group's entry; 0 if the group does not exist.
std::size_t members_of_group(const std::string& name);
// The group's name, or its number where it has none.
std::string group_name(gid_t gid);
// The user and groups of this thread.
User current_user();

// Adds the groups of the user's running processes called `program`: systemd may give them more than the group file does
// (SupplementaryGroups=).
User with_groups_of_running(User user, const std::string& program);

// Whether act_as() can act as that user: root can become any user (unless it lacks the capability), others only
// themselves.
bool can_become(const User& user);

// Runs `work` as that user on a new thread (Linux credentials belong to a thread); its child processes run as that
// user, too. If can_become() is false, runs it as the current user. Throws Error{unavailable} if the kernel refuses.
void act_as(const User& user, const std::function<void()>& work);

// Changes this thread, and all that it starts, to that user, irrevocably. Requires can_become(). Throws
// Error{unavailable} if the kernel refuses.
void become(const User& user);

struct Rights {
  bool read = false, write = false, enter = false;
};

// Checks the mode only, not access control lists.
bool allowed_by_mode(const struct stat& status, const User& user, Rights rights);

// Whether the user has these rights: the kernel's answer if we can become that user, otherwise judged by the mode.
bool may(const User& user, const fs::path& path, Rights rights);

// The first directory on the way to `path` that the user cannot search; nullopt if there is none.
std::optional<fs::path> barrier(const User& user, const fs::path& path);

}  // namespace nixery::os
