#include "jobs/fair_queue.h"

#include <algorithm>

namespace nixery::jobs {

std::list<FairQueue::Line>::iterator FairQueue::line_of(const std::string& client) {
  return std::find_if(lines_.begin(), lines_.end(), [&](const Line& line) { return line.client == client; });
}

void FairQueue::push(const std::string& client, const std::string& key) {
  auto line = line_of(client);
  if (line == lines_.end()) line = lines_.insert(lines_.end(), Line{client, {}});
  if (std::find(line->keys.begin(), line->keys.end(), key) == line->keys.end()) {
    line->keys.push_back(key);
    shares_.add(client);
  }
  waiting_.insert(key);
}

void FairQueue::remove(const std::string& key) {
  for (Line& line : lines_)
    if (std::erase(line.keys, key) > 0) shares_.remove(line.client);
  std::erase_if(lines_, [](const Line& line) { return line.keys.empty(); });
  waiting_.erase(key);
}

std::optional<FairQueue::Entry> FairQueue::pop(const ClientShares& running, bool is_last_worker) {
  const auto line = std::min_element(lines_.begin(), lines_.end(), [&](const Line& a, const Line& b) {
    return running.of(a.client) < running.of(b.client);
  });
  if (line == lines_.end() || (is_last_worker && running.of(line->client) > 0)) return std::nullopt;
  Entry entry{line->client, line->keys.front()};
  lines_.splice(lines_.end(), lines_, line);
  remove(entry.key);
  return entry;
}

std::optional<std::string> FairQueue::evict_for(const std::string& client) {
  const auto candidates = shares_.above_share_of(client);
  const auto can_yield = [&](const std::string& other) {
    return std::find(candidates.begin(), candidates.end(), other) != candidates.end();
  };
  const auto is_wanted_elsewhere = [&](const std::string& key) {
    return std::any_of(lines_.begin(), lines_.end(), [&](const Line& line) {
      return !can_yield(line.client) && std::find(line.keys.begin(), line.keys.end(), key) != line.keys.end();
    });
  };
  for (const std::string& candidate : candidates) {
    const auto line = line_of(candidate);
    const auto found = std::find_if_not(line->keys.rbegin(), line->keys.rend(), is_wanted_elsewhere);
    if (found == line->keys.rend()) continue;
    auto key = *found;
    remove(key);
    return key;
  }
  return std::nullopt;
}

}  // namespace nixery::jobs
