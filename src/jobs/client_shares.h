// Counts how many of a limited number of slots each client holds, and chooses the client that gives one up when all are
// taken. The same rule applies to connections, pending requests, event streams, queued jobs and running jobs.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::jobs {

// The identity by which shares are counted: an IPv4 address, or the /64 network of an IPv6 address, as one subscriber
// usually owns all of it.
std::string client_of_address(std::string_view address);

// Not thread-safe.
class ClientShares {
 public:
  void add(const std::string& client);
  // Releases one slot of a client that holds some.
  void remove(const std::string& client);

  std::size_t of(const std::string& client) const;
  std::size_t total() const { return total_; }

  // The clients that hold at least two slots more than `client`, most first: they can give one up and still hold more
  // than `client` did. If there are none, `client` has its share already.
  std::vector<std::string> above_share_of(const std::string& client) const;

 private:
  std::map<std::string, std::size_t> places_;  // only clients that hold some
  std::size_t total_ = 0;
};

}  // namespace nixery::jobs
