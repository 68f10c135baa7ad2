#include "build/fair_queue.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

namespace nixery::build {

std::string client_of_address(std::string_view address) {
  in6_addr parsed{};
  if (inet_pton(AF_INET6, std::string(address).c_str(), &parsed) != 1 || IN6_IS_ADDR_V4MAPPED(&parsed))
    return std::string(address);
  std::fill(std::begin(parsed.s6_addr) + 8, std::end(parsed.s6_addr), std::uint8_t{0});
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(AF_INET6, &parsed, text.data(), text.size());
  return std::string(text.data()) + "/64";
}

std::list<FairQueue::Line>::iterator FairQueue::line_of(const std::string& client) {
  return std::find_if(lines_.begin(), lines_.end(), [&](const Line& line) { return line.client == client; });
}

void FairQueue::push(const std::string& client, std::shared_ptr<Flight> flight) {
  auto line = line_of(client);
  if (line == lines_.end()) line = lines_.insert(lines_.end(), Line{client, {}});
  line->flights.push_back(std::move(flight));
  ++size_;
}

std::shared_ptr<Flight> FairQueue::pop() {
  Line& line = lines_.front();
  auto flight = std::move(line.flights.front());
  line.flights.pop_front();
  --size_;
  if (line.flights.empty())
    lines_.pop_front();
  else
    lines_.splice(lines_.end(), lines_, lines_.begin());
  return flight;
}

std::shared_ptr<Flight> FairQueue::displace_for(const std::string& client) {
  const auto line = line_of(client);
  const std::size_t own = line == lines_.end() ? 0 : line->flights.size();
  const auto longest = std::max_element(
      lines_.begin(), lines_.end(), [](const Line& a, const Line& b) { return a.flights.size() < b.flights.size(); });
  if (longest == lines_.end() || longest->flights.size() < own + 2) return nullptr;
  auto flight = std::move(longest->flights.back());
  longest->flights.pop_back();
  --size_;
  return flight;
}

}  // namespace nixery::build
