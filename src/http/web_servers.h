// The web servers that may connect over TCP, from FCGI_WEB_SERVER_ADDRS (FastCGI 1.0, 3.2).
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string_view>
#include <vector>

namespace nixery::http {

class WebServers {
 public:
  // Parses a comma-separated list of addresses: "10.0.0.7, 2001:db8::7". Throws Error{bad_config} for an invalid
  // address.
  static WebServers parse(std::string_view list);

  // Compares addresses, not their notation; an IPv4 address equals its IPv4-mapped IPv6 address.
  bool contains(const sockaddr_storage& peer) const;

 private:
  std::vector<in6_addr> addresses_;
};

}  // namespace nixery::http
