#include "kubernetes/lease.h"

#include <fmt/format.h>

#include "kubernetes/nix_image.h"
#include "kubernetes/watch.h"
#include "log.h"

namespace nixery::kubernetes {

namespace {

using std::chrono::seconds;

const json::Value* spec_of(const json::Value& lease) {
  return json::find(lease, "spec");
}

std::string text_of_spec(const json::Value& lease, const char* key) {
  const json::Value* spec = spec_of(lease);
  return spec ? json::string_or(*spec, key, "") : "";
}

std::int64_t number_of_spec(const json::Value& lease, const char* key) {
  const json::Value* spec = spec_of(lease);
  return spec ? json::integer_at(*spec, key).value_or(0) : 0;
}

}  // namespace

void LeaseView::observe(const std::string& holder, const std::string& renewed, seconds duration,
                        Clock::time_point now) {
  if (seen_ && holder == holder_ && renewed == renewed_) return;
  seen_ = true;
  holder_ = holder;
  renewed_ = renewed;
  duration_ = duration;
  changed_ = now;
}

bool LeaseView::may_take(const std::string& identity, Clock::time_point now) const {
  return seen_ && (holder_.empty() || holder_ == identity || now >= changed_ + duration_);
}

std::string held_lease(const json::Value* lease, const std::string& namespace_name, const std::string& name,
                       const std::string& identity, seconds duration, const std::string& now) {
  const bool ours = lease && text_of_spec(*lease, "holderIdentity") == identity;
  const std::string acquired = ours ? text_of_spec(*lease, "acquireTime") : "";
  // A released lease changes hands only when the next holder acquires it.
  const bool changes_hands = !ours && !identity.empty();
  const std::int64_t transitions = lease ? number_of_spec(*lease, "leaseTransitions") + (changes_hands ? 1 : 0) : 0;
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "apiVersion", "coordination.k8s.io/v1");
  json::member(writer, "kind", "Lease");
  json::key(writer, "metadata");
  if (const json::Value* metadata = lease ? json::find(*lease, "metadata") : nullptr) {
    metadata->Accept(writer);  // with its resourceVersion: a change by another client in between is a conflict
  } else {
    writer.StartObject();
    json::member(writer, "namespace", namespace_name);
    json::member(writer, "name", name);
    writer.EndObject();
  }
  json::key(writer, "spec");
  writer.StartObject();
  if (!identity.empty()) json::member(writer, "holderIdentity", identity);  // an empty one is not valid
  json::member(writer, "leaseDurationSeconds", static_cast<std::uint64_t>(duration.count()));
  json::member(writer, "acquireTime", acquired.empty() ? now : acquired);
  json::member(writer, "renewTime", now);
  json::key(writer, "leaseTransitions");
  writer.Int64(transitions);
  writer.EndObject();
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

bool LeaderElection::leads() const {
  return Clock::now().time_since_epoch().count() < held_until_;
}

std::string LeaderElection::path() const {
  return fmt::format("/apis/coordination.k8s.io/v1/namespaces/{}/leases", namespace_);
}

bool LeaderElection::try_to_hold() {
  const auto begun = Clock::now();
  const auto hold = [&](const json::Value* lease) {
    const std::string body = held_lease(lease, namespace_, name_, identity_, times_.duration, micro_timestamp_now());
    try {
      if (lease)
        client_.request("PUT", fmt::format("{}/{}", path(), name_), body, json_type, times_.request);
      else
        client_.request("POST", path(), body, json_type, times_.request);
    } catch (const ApiError& error) {
      if (error.status == 409)
        return leads();  // another instance was faster; what we held stays valid until it expires
      throw;
    }
    held_until_ = (begun + times_.renew_deadline).time_since_epoch().count();
    return true;
  };

  http_client::Response response;
  try {
    response = client_.request("GET", fmt::format("{}/{}", path(), name_), {}, json_type, times_.request);
  } catch (const ApiError& error) {
    if (error.status != 404) throw;
    return hold(nullptr);
  }
  const json::Document lease = json::parse(response.body, "the lease");
  view_.observe(text_of_spec(lease, "holderIdentity"), text_of_spec(lease, "renewTime"),
                seconds(number_of_spec(lease, "leaseDurationSeconds")), Clock::now());
  if (!view_.may_take(identity_, Clock::now())) {
    held_until_ = 0;
    return false;
  }
  return hold(&lease);
}

void LeaderElection::run(const std::stop_token& stop, const std::function<void()>& gained) {
  bool led = false;
  std::string last_error;
  do {
    try {
      const bool leads_now = try_to_hold();
      if (leads_now && !led) {
        log::info("leading", {{"lease", fmt::format("{}/{}", namespace_, name_)}, {"identity", identity_}});
        gained();
      }
      if (!leads_now && led) log::warning("lost leadership", {{"identity", identity_}});
      led = leads_now;
      last_error.clear();
    } catch (const Error& error) {
      led = leads();
      if (!stop.stop_requested() && last_error != error.what())
        log::warning("cannot renew the lease", {{"error", error.what()}});
      last_error = error.what();
    }
  } while (wait(back_off(0, times_.retry * 2, times_.retry * 2, random_part() / 4), stop));
}

void LeaderElection::release(const ApiClient& client) {
  if (!leads()) return;
  held_until_ = 0;
  try {
    const http_client::Response response =
        client.request("GET", fmt::format("{}/{}", path(), name_), {}, json_type, times_.request);
    const json::Document lease = json::parse(response.body, "the lease");
    if (text_of_spec(lease, "holderIdentity") != identity_) return;
    client.request("PUT", fmt::format("{}/{}", path(), name_),
                   held_lease(&lease, namespace_, name_, "", seconds(1), micro_timestamp_now()), json_type,
                   times_.request);
  } catch (const Error& error) {
    log::warning("cannot release the lease", {{"error", error.what()}});
  }
}

}  // namespace nixery::kubernetes
