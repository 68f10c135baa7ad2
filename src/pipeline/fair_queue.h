// JobQueue that wait for a free builder: the clients take turns, so that one who asks for fifty images does not keep
// another's first waiting for all of them.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace nixery::pipeline {

class Job;

// Whose turn it is counts by this: an IPv4 address, or the /64 network of an IPv6 one, as one person has all of it.
std::string client_of_address(std::string_view address);

// Each client has a line of the jobs that it asked for; one that several asked for stands in each of their lines,
// until its first entry. One thread at a time.
class FairQueue {
 public:
  struct Entry {
    std::string client;
    std::shared_ptr<Job> job;
  };
  using RunningByClient =
      std::map<std::string, unsigned>;  // by client: jobs that began in its entry; only those who have any

  // To the end of the client's line; one that is in it keeps its place.
  void push(const std::string& client, const std::shared_ptr<Job>& job);
  // The oldest of the client whose turn it is: of those with the fewest jobs in the air, the one who has waited for
  // its turn longest. Where there is only one builder left of several, it is for a client with none in the air; nullopt
  // where nobody else waits.
  std::optional<Entry> pop(const RunningByClient& running, bool is_last_builder);
  // Makes room for a job of `client`: takes out the newest of whoever has the most waiting, for all who wait for it.
  // Null where that would not leave everybody with fair shares: each of them must have two more than `client`.
  std::shared_ptr<Job> displace_for(const std::string& client);

  bool holds(const std::shared_ptr<Job>& job) const { return waiting_.contains(job); }
  std::size_t size() const { return waiting_.size(); }
  bool empty() const { return waiting_.empty(); }

 private:
  struct Line {
    std::string client;
    std::deque<std::shared_ptr<Job>> jobs;  // never empty
  };
  std::list<Line>::iterator line_of(const std::string& client);
  void remove(const std::shared_ptr<Job>& job);

  std::list<Line> lines_;  // the first one's turn is next
  std::set<std::shared_ptr<Job>> waiting_;
};

}  // namespace nixery::pipeline
