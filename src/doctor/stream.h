// A connection to a local server, with a deadline for all of it.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "os/fd.h"

namespace nixery::doctor {

class Stream {
 public:
  // `address` is unix:/path or host:port. Throws Error{unavailable}: "cannot connect to …: <reason>".
  Stream(const std::string& address, std::chrono::seconds limit);

  void send(std::string_view bytes);
  // Exactly `size` bytes. Throws Error{unavailable} if the other end hangs up before, or the time is over.
  std::string receive(std::size_t size);

  // The process that listens, where the kernel knows (Unix sockets).
  std::optional<ucred> peer() const;

 private:
  void wait_for(short events);

  std::string address_;
  std::chrono::steady_clock::time_point deadline_;
  os::Fd fd_;
};

}  // namespace nixery::doctor
