// The users and groups that the names in a declaration can mean: those of every image (base_users.h), and its own.
//
// Others are unknown, even if a package brings an /etc/passwd of its own: names are resolved before any package is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reference/root_additions.h"

namespace nixery::reference {

// [a-z_][a-z0-9_-]*, at most 32 bytes, as useradd allows.
bool is_account_name(std::string_view text);

inline constexpr std::uint32_t max_account_id = 4294967294;  // the last number means "unchanged" to chown(2)
// A uid or gid: decimal, up to max_account_id.
std::optional<std::uint32_t> account_id(std::string_view text);

class Accounts {
 public:
  Accounts();

  // Why this user cannot be added; nullopt if it was.
  std::optional<std::string> add(const DeclaredUser& user);

  // "name", "uid", "name:group", "uid:gid" and so on. `numbers`: "65534:65534", but "1000" stays as it was given, so
  // that the runtime looks up its group. A uid alone has the owner's group of its user, or else of the same number.
  struct Identity {
    std::string numbers;
    Owner owner;
  };
  // nullopt if a part is neither a number nor a known name; `problem` then has the reason with the known names.
  std::optional<Identity> find(std::string_view text, std::string& problem) const;

 private:
  struct User {
    std::string name;
    Owner owner;
  };
  struct Group {
    std::string name;
    std::uint32_t gid;
  };
  const User* user(std::string_view name) const;
  const Group* group(std::string_view name) const;

  std::vector<User> users_;
  std::vector<Group> groups_;
};

}  // namespace nixery::reference
