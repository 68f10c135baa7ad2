// The users whom a set-up is for, the worker's and the web server's, and what they may do with files.
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
  std::string name;  // "nixery", or the number where it has no name
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // gid among them
  std::string home;           // may be empty
};

// These are thread-safe.
std::optional<User> user_named(const std::string& name);
User user_of(uid_t uid);
// How many users the group's entry names; 0 if there is no such group.
std::size_t members_of_group(const std::string& name);
// The group's name, or its number where it has none.
std::string group_name(gid_t gid);
// As whom this thread acts, with the groups that it has.
User current_user();

// The user with the groups, too, that running processes called `program` have of it: systemd may give more than the
// group file does (SupplementaryGroups=).
User with_groups_of_running(User user, const std::string& program);

// Whether act_as() would act as that user: root may be anybody (where it has not been deprived of that), others only
// themselves.
bool can_become(const User& user);

// Runs `work` as that user, on a thread of its own (on Linux, credentials are a thread's); what it starts is the
// user's, too. Runs it as it is where can_become() is false. Throws Error{unavailable} where the kernel refuses.
void act_as(const User& user, const std::function<void()>& work);

// This thread, and what it begins from now on, is that user's and cannot go back; where can_become() is true. Throws
// Error{unavailable} where the kernel refuses.
void become(const User& user);

struct Rights {
  bool read = false, write = false, enter = false;
};

// What the mode says, without access control lists.
bool allowed_by_mode(const struct stat& status, const User& user, Rights rights);

// Whether it may: asked of the kernel where we can become it, else read from the mode.
bool may(const User& user, const fs::path& path, Rights rights);

// The first directory on the way to `path` that it may not pass; nullopt where the way is free.
std::optional<fs::path> barrier(const User& user, const fs::path& path);

}  // namespace nixery::os
