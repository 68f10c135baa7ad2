// Leader election by a coordination.k8s.io Lease: of several controllers one writes status.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "json/json.h"
#include "kubernetes/api_client.h"
#include "kubernetes/work_queue.h"

namespace nixery::kubernetes {

struct LeaseTimes {
  std::chrono::seconds duration{15};        // after which a silent holder has lost it
  std::chrono::seconds renew_deadline{10};  // after which a holder that cannot renew believes so itself
  milliseconds retry{2000};
  std::chrono::seconds request{5};  // the longest that one request may take: so that a second one is in time
};

// What a candidate knows of the lease. Expiry is measured by the candidate's own clock, from when it saw the lease
// change: clocks of different hosts are never compared. Not thread-safe.
class LeaseView {
 public:
  // `holder` may be empty: the lease is free. `duration` is what the holder has promised.
  void observe(const std::string& holder, const std::string& renewed, std::chrono::seconds duration,
               Clock::time_point now);
  bool may_take(const std::string& identity, Clock::time_point now) const;

 private:
  bool seen_ = false;
  std::string holder_, renewed_;
  std::chrono::seconds duration_{0};
  Clock::time_point changed_;
};

class LeaderElection {
 public:
  LeaderElection(const ApiClient& client, std::string namespace_name, std::string name, std::string identity,
                 LeaseTimes times = {})
      : client_(client),
        namespace_(std::move(namespace_name)),
        name_(std::move(name)),
        identity_(std::move(identity)),
        times_(times) {}

  // Thread-safe. False as soon as another instance may hold the lease.
  bool leads() const;

  // Until `stop` is true; `gained` is called in this thread each time the lease becomes ours.
  void run(const std::stop_token& stop, const std::function<void()>& gained);
  // Gives the lease back, so that the next one need not wait. `client`: one that has not been stopped.
  void release(const ApiClient& client);

 private:
  bool try_to_hold();
  std::string path() const;

  const ApiClient& client_;
  const std::string namespace_, name_, identity_;
  const LeaseTimes times_;
  LeaseView view_;
  std::atomic<Clock::rep> held_until_{0};
};

// The lease's JSON with `identity` as its holder, or without a holder where that is empty; `lease` is what the server
// has, or null.
std::string held_lease(const json::Value* lease, const std::string& namespace_name, const std::string& name,
                       const std::string& identity, std::chrono::seconds duration, const std::string& now);

}  // namespace nixery::kubernetes
