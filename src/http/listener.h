// The socket on which a worker accepts connections: passed to it, or its own.
#pragma once

#include <string>

#include "os/fd.h"
#include "os/unix_listener.h"

namespace nixery::http {

struct Listener {
  os::Fd fd;  // none for plain CGI
  bool cgi = false;
  std::string origin;        // "systemd", "unix:/run/…": for the log
  bool handed_over = false;  // another process may accept on it, too
  os::SocketName name = {};  // of a Unix socket that this process made
};

// systemd's LISTEN_FDS, else a listening descriptor 0 (spawn-fcgi), else plain CGI if GATEWAY_INTERFACE is set, else
// its own socket at `address` ("unix:/path" or "host:port"). Throws Error{bad_config, unavailable}. Changes the
// environment, so call it before starting threads.
Listener find_listener(const std::string& address);

}  // namespace nixery::http
