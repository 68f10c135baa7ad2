#include "http/web_servers.h"

#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "error.h"

namespace nixery::http {

namespace {

in6_addr mapped(const in_addr& address) {
  in6_addr result{};
  result.s6_addr[10] = result.s6_addr[11] = 0xff;
  std::memcpy(result.s6_addr + 12, &address, sizeof address);
  return result;
}

// nullopt for other families.
std::optional<in6_addr> address_of(const sockaddr* name) {
  if (name->sa_family == AF_INET) return mapped(reinterpret_cast<const sockaddr_in*>(name)->sin_addr);
  if (name->sa_family == AF_INET6) return reinterpret_cast<const sockaddr_in6*>(name)->sin6_addr;
  return std::nullopt;
}

}  // namespace

WebServers WebServers::parse(std::string_view list) {
  WebServers servers;
  while (!list.empty()) {
    const std::string_view entry = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), entry.size() + 1));
    const auto start = entry.find_first_not_of(" \t"), end = entry.find_last_not_of(" \t");
    const std::string word(start == entry.npos ? "" : entry.substr(start, end - start + 1));
    addrinfo hints{}, *found = nullptr;
    hints.ai_flags = AI_NUMERICHOST;
    const bool parsed = !word.empty() && getaddrinfo(word.c_str(), nullptr, &hints, &found) == 0;
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
    const auto address = parsed ? address_of(found->ai_addr) : std::nullopt;
    if (!address) throw Error(Failure::bad_config, fmt::format("FCGI_WEB_SERVER_ADDRS: '{}' is no IP address", word));
    servers.addresses_.push_back(*address);
  }
  return servers;
}

bool WebServers::contains(const sockaddr_storage& peer) const {
  const auto address = address_of(reinterpret_cast<const sockaddr*>(&peer));
  return address && std::ranges::any_of(addresses_, [&](const in6_addr& known) {
           return std::memcmp(&known, &*address, sizeof known) == 0;
         });
}

}  // namespace nixery::http
