#include "jobs/client_shares.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace nixery::jobs {

std::string client_of_address(std::string_view address) {
  in6_addr parsed{};
  if (inet_pton(AF_INET6, std::string(address).c_str(), &parsed) != 1 || IN6_IS_ADDR_V4MAPPED(&parsed))
    return std::string(address);
  std::fill(std::begin(parsed.s6_addr) + 8, std::end(parsed.s6_addr), std::uint8_t{0});
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(AF_INET6, &parsed, text.data(), text.size());
  return std::string(text.data()) + "/64";
}

void ClientShares::add(const std::string& client) {
  ++places_[client];
  ++total_;
}

void ClientShares::remove(const std::string& client) {
  const auto entry = places_.find(client);
  if (entry == places_.end()) return;
  if (--entry->second == 0) places_.erase(entry);
  --total_;
}

std::size_t ClientShares::of(const std::string& client) const {
  const auto entry = places_.find(client);
  return entry == places_.end() ? 0 : entry->second;
}

std::vector<std::string> ClientShares::above_share_of(const std::string& client) const {
  const std::size_t enough = of(client) + 2;
  std::vector<std::string> clients;
  for (const auto& [other, places] : places_)
    if (places >= enough) clients.push_back(other);
  std::ranges::stable_sort(clients, [&](const std::string& a, const std::string& b) { return of(a) > of(b); });
  return clients;
}

}  // namespace nixery::jobs
