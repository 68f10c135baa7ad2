// Which program listens at an address of this machine, by /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::doctor {

struct ListeningProcess {
  pid_t pid = 0;
  std::string program;  // its name, as ps shows it

  std::string str() const;  // "apache2 (process 812)"
};

// Inodes of the sockets that listen at a TCP port, in the text of /proc/net/tcp or tcp6, at any address.
std::vector<std::uint64_t> listening_inodes(std::string_view table, std::uint16_t port);

// Likewise of a Unix socket's path, in /proc/net/unix.
std::vector<std::uint64_t> listening_inodes(std::string_view table, std::string_view path);

// `address` is host:port, a port alone, or unix:/path. nullopt where nobody listens, or where it cannot be seen who:
// the processes of others are for root alone.
std::optional<ListeningProcess> listener_at(std::string_view address);

}  // namespace nixery::doctor
