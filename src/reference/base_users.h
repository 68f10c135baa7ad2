// The accounts of every image: /etc/passwd and /etc/group are written from these tables, and the user of a declared
// image is looked up in them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace nixery::reference {

struct BaseUser {
  std::string_view name;
  std::uint32_t id;  // of the user and of its group, which has the same name
  std::string_view home;
  bool has_shell;
};
struct BaseGroup {
  std::string_view name;
  std::uint32_t id;
};

// Numbers and names as in Debian and Alpine, as far as they agree.
inline constexpr std::array base_users = {
    BaseUser{"root", 0, "/root", true},
    BaseUser{"daemon", 1, "/var/empty", false},
    BaseUser{"bin", 2, "/var/empty", false},
    BaseUser{"mail", 8, "/var/mail", false},
    BaseUser{"nobody", 65534, "/var/empty", false},
};
inline constexpr std::array base_groups = {
    BaseGroup{"root", 0},    BaseGroup{"daemon", 1},     BaseGroup{"bin", 2},  BaseGroup{"sys", 3},
    BaseGroup{"adm", 4},     BaseGroup{"tty", 5},        BaseGroup{"disk", 6}, BaseGroup{"mail", 8},
    BaseGroup{"users", 100}, BaseGroup{"nobody", 65534},
};

}  // namespace nixery::reference
