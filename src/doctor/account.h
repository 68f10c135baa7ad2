// The users whom a set-up is for, the worker's and the web server's, and what they may do with files.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace nixery::doctor {

namespace fs = std::filesystem;

struct Account {
  std::string name;  // "nixery", or the number where it has no name
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // gid among them
  std::string home;           // may be empty
};

std::optional<Account> account_named(const std::string& name);
Account account_of(uid_t uid);
// As whom this thread acts, with the groups that it has.
Account ourselves();

// The account with the groups, too, that running processes called `program` have of it: systemd may give more than the
// group file does (SupplementaryGroups=).
Account with_groups_of_running(Account account, const std::string& program);

// Whether act_as() would act as that account: root may be anybody (where it has not been deprived of that), others only
// themselves.
bool can_become(const Account& account);

// Runs `work` as that account, on a thread of its own (on Linux, credentials are a thread's); what it starts is the
// account's, too. Runs it as it is where can_become() is false. Throws Error{unavailable} where the kernel refuses.
void act_as(const Account& account, const std::function<void()>& work);

// This thread, and what it begins from now on, is that account's and cannot go back; where can_become() is true. Throws
// Error{unavailable} where the kernel refuses.
void become(const Account& account);

struct Rights {
  bool read = false, write = false, enter = false;
};

// What the mode says, without access control lists.
bool allowed_by_mode(const struct stat& status, const Account& account, Rights rights);

// Whether it may: asked of the kernel where we can become it, else read from the mode.
bool may(const Account& account, const fs::path& path, Rights rights);

// The first directory on the way to `path` that it may not pass; nullopt where the way is free.
std::optional<fs::path> barrier(const Account& account, const fs::path& path);

}  // namespace nixery::doctor
