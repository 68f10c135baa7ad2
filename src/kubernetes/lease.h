// Leader election by a coordination.k8s.io Lease: only one of several controllers writes status.
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
  std::chrono::seconds duration{15};        // after which a holder that does not renew has lost the lease
  std::chrono::seconds renew_deadline{10};  // after which a holder that cannot renew stops leading
  milliseconds retry{2000};
  std::chrono::seconds request{5};  // time limit of one request, so that a second attempt is in time
};

// A candidate's view of the lease. Expiry is measured with the candidate's own clock from the last observed change, so
// clocks of different hosts are never compared. Not thread-safe.
class LeaseView {
 public:
  // `holder` may be empty: the lease is free. `duration` is the holder's lease duration.
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

  // Runs until stop is requested. Calls `gained` in this thread each time this process acquires the lease.
  void run(const std::stop_token& stop, const std::function<void()>& gained);
  // Releases the lease, so that the next holder need not wait. `client` must not have been stopped.
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

// The lease's JSON with `identity` as its holder, or without a holder if that is empty. `lease` is the server's current
// lease, or null.
std::string held_lease(const json::Value* lease, const std::string& namespace_name, const std::string& name,
                       const std::string& identity, std::chrono::seconds duration, const std::string& now);

}  // namespace nixery::kubernetes
