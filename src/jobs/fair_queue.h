// Keys of jobs that wait for a free worker. Clients take turns, so a client that asks for fifty jobs does not delay
// another client's first one.
#pragma once

#include <deque>
#include <list>
#include <optional>
#include <set>
#include <string>

#include "jobs/client_shares.h"

namespace nixery::jobs {

// Each client has its own queue ("line") of keys. A key that several clients submitted is in each of their lines until
// it is popped from one. Not thread-safe.
class FairQueue {
 public:
  struct Entry {
    std::string client;
    std::string key;
  };
  // Appends to the client's line; a key that is in the line keeps its position.
  void push(const std::string& client, const std::string& key);
  // The oldest key of the client whose turn it is: of the clients with the fewest jobs `running`, the one that has
  // waited longest for its turn. The last free worker of several is reserved for a client with no running job: nullopt
  // if only other clients wait.
  std::optional<Entry> pop(const ClientShares& running, bool is_last_worker);
  // Frees a slot for a key of `client`: evicts the newest key of the client with the most queued keys, from every line.
  // nullopt if no client has at least two more queued keys than `client`.
  std::optional<std::string> evict_for(const std::string& client);

  bool holds(const std::string& key) const { return waiting_.contains(key); }
  std::size_t size() const { return waiting_.size(); }
  bool empty() const { return waiting_.empty(); }

 private:
  struct Line {
    std::string client;
    std::deque<std::string> keys;  // never empty
  };
  std::list<Line>::iterator line_of(const std::string& client);
  void remove(const std::string& key);

  std::list<Line> lines_;  // the first line is next
  ClientShares shares_;    // of the keys in the lines
  std::set<std::string> waiting_;
};

}  // namespace nixery::jobs
