#include "jobs/fair_queue.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <vector>

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

std::list<FairQueue::Line>::iterator FairQueue::line_of(const std::string& client) {
  return std::find_if(lines_.begin(), lines_.end(), [&](const Line& line) { return line.client == client; });
}

void FairQueue::push(const std::string& client, const std::string& key) {
  auto line = line_of(client);
  if (line == lines_.end()) line = lines_.insert(lines_.end(), Line{client, {}});
  if (std::find(line->keys.begin(), line->keys.end(), key) == line->keys.end()) line->keys.push_back(key);
  waiting_.insert(key);
}

void FairQueue::remove(const std::string& key) {
  for (Line& line : lines_) std::erase(line.keys, key);
  std::erase_if(lines_, [](const Line& line) { return line.keys.empty(); });
  waiting_.erase(key);
}

std::optional<FairQueue::Entry> FairQueue::pop(const RunningByClient& running, bool is_last_worker) {
  const auto running_of = [&](const Line& line) {
    const auto known = running.find(line.client);
    return known == running.end() ? 0 : known->second;
  };
  const auto line = std::min_element(lines_.begin(), lines_.end(),
                                     [&](const Line& a, const Line& b) { return running_of(a) < running_of(b); });
  if (line == lines_.end() || (is_last_worker && running_of(*line) > 0)) return std::nullopt;
  Entry entry{line->client, line->keys.front()};
  lines_.splice(lines_.end(), lines_, line);
  remove(entry.key);
  return entry;
}

std::optional<std::string> FairQueue::evict_for(const std::string& client) {
  const auto own_line = line_of(client);
  const std::size_t enough = (own_line == lines_.end() ? 0 : own_line->keys.size()) + 2;
  std::vector<const Line*> longest;
  for (const Line& line : lines_)
    if (line.keys.size() >= enough) longest.push_back(&line);
  std::stable_sort(longest.begin(), longest.end(),
                   [](const Line* a, const Line* b) { return a->keys.size() > b->keys.size(); });
  const auto is_wanted_elsewhere = [&](const std::string& key) {
    return std::any_of(lines_.begin(), lines_.end(), [&](const Line& line) {
      return line.keys.size() < enough && std::find(line.keys.begin(), line.keys.end(), key) != line.keys.end();
    });
  };
  for (const Line* line : longest) {
    const auto found = std::find_if_not(line->keys.rbegin(), line->keys.rend(), is_wanted_elsewhere);
    if (found == line->keys.rend()) continue;
    auto key = *found;
    remove(key);
    return key;
  }
  return std::nullopt;
}

}  // namespace nixery::jobs
