// Flights that wait for a free builder: the clients take turns, so that one who asks for fifty images does not keep
// another's first waiting for all of them.
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <string>
#include <string_view>

namespace nixery::build {

class Flight;

// Whose turn it is counts by this: an IPv4 address, or the /64 network of an IPv6 one, as one person has all of it.
std::string client_of_address(std::string_view address);

// One thread at a time.
class FairQueue {
 public:
  void push(const std::string& client, std::shared_ptr<Flight> flight);
  // The oldest of the client whose turn it is. The queue must not be empty.
  std::shared_ptr<Flight> pop();
  // Makes room for a flight of `client`: takes out the newest of whoever has the most waiting. Null where that would
  // not leave both with fair shares: nobody has two more than `client`.
  std::shared_ptr<Flight> displace_for(const std::string& client);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  struct Line {
    std::string client;
    std::deque<std::shared_ptr<Flight>> flights;  // never empty
  };
  std::list<Line>::iterator line_of(const std::string& client);

  std::list<Line> lines_;  // the first one's turn is next
  std::size_t size_ = 0;
};

}  // namespace nixery::build
