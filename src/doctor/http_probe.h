// One GET to a registry, with a deadline. Unlike nix/download, what it wants is the status and a header.
#pragma once

#include <chrono>
#include <string>

namespace nixery::doctor {

struct HttpQuestion {
  std::string url;
  std::string connect_to = {};  // host:port to connect to in place of the URL's; empty: the URL's
  std::chrono::seconds limit{20};
  bool direct = false;  // past any proxy of the environment's
};

struct HttpAnswer {
  long status = 0;
  std::string api_version;  // Docker-Distribution-API-Version
  std::string body;         // its first 64 KiB
};

// No redirect is followed. Throws Error{unavailable}.
HttpAnswer ask(const HttpQuestion& question);

}  // namespace nixery::doctor
