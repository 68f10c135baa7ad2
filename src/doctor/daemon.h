// nix-daemon's greeting: the part of its protocol that gives any client the daemon's version.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace nixery::doctor {

// The version of the daemon that listens at `socket`: "2.8.0". Nix before 2.8 does not tell: then empty. Throws
// Error{unavailable}: there is none, it lets us not in, it is not nix-daemon.
std::string ask_daemon_version(const std::string& socket, std::chrono::seconds limit);

}  // namespace nixery::doctor
