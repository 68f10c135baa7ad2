// How many places each client holds at a gate that has a limited number of them, and who gives one up when all are
// taken. The rule is the same at every gate: connections, requests that wait, event streams, queued jobs, running jobs.
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
  // One place of a client that has some.
  void remove(const std::string& client);

  std::size_t of(const std::string& client) const;
  std::size_t total() const { return total_; }

  // The clients that can give a place to `client` and still hold more than it did: those with at least two more, the
  // one with most first. If there is none, `client` has its share already.
  std::vector<std::string> above_share_of(const std::string& client) const;

 private:
  std::map<std::string, std::size_t> places_;  // only clients that hold some
  std::size_t total_ = 0;
};

}  // namespace nixery::jobs
