#include "health/readiness.h"

#include <fmt/format.h>

#include <algorithm>

#include "json/json.h"
#include "log.h"
#include "nix/nix.h"
#include "quantity.h"
#include "text/public_text.h"

namespace nixery::health {

namespace {

template <typename Look>
ReadinessCheck check(std::string name, Look&& look) {
  ReadinessCheck done{std::move(name), {}};
  try {
    done.why = look();
  } catch (const std::exception& error) {
    done.why = error.what();
  }
  return done;
}

// Free blocks are not enough: the file system may have become read-only.
std::string write_to(const tree::BlobStore& store, tree::Kind kind) {
  store.scratch(kind).write("x");
  return {};
}

std::string room_for(const tree::BlobStore& store, tree::Kind kind, std::uint64_t least) {
  const auto space = store.room(kind);
  if (!space) return "cannot be asked how much room is left";
  if (space->free >= least) return {};
  return fmt::format("{} free, NIXERY_MIN_FREE is {}", format_size(space->free), format_size(least));
}

std::vector<ReadinessCheck> check_all(const tree::BlobStore& store, const nix::BuildProbe& probe,
                                      std::uint64_t min_free, const std::stop_token& stop) {
  return {check("nix",
                [&] {
                  std::string trouble = probe.last().value_or("");
                  if (trouble.empty()) nix::check_store(stop);
                  return trouble;
                }),
          check("tree", [&] { return write_to(store, tree::Kind::blob); }),
          check("state", [&] { return write_to(store, tree::Kind::maintenance); }),
          check("tree space", [&] { return room_for(store, tree::Kind::blob, min_free); }),
          check("state space", [&] { return room_for(store, tree::Kind::maintenance, min_free); })};
}

}  // namespace

std::string readiness_report(const std::vector<ReadinessCheck>& checks) {
  return json::object([&](json::Writer& writer) {
    json::key(writer, "ready");
    writer.Bool(std::all_of(checks.begin(), checks.end(), [](const ReadinessCheck& each) { return each.why.empty(); }));
    json::key(writer, "checks");
    writer.StartObject();
    for (const ReadinessCheck& each : checks) {
      json::key(writer, each.name);
      writer.StartObject();
      json::key(writer, "ok");
      writer.Bool(each.why.empty());
      if (!each.why.empty()) json::member(writer, "why", text::public_text(each.why));
      writer.EndObject();
    }
    writer.EndObject();
  });
}

std::string faults_in(const std::vector<ReadinessCheck>& checks) {
  std::string faults;
  for (const ReadinessCheck& each : checks)
    if (!each.why.empty()) faults += fmt::format("{}{}: {}", faults.empty() ? "" : "; ", each.name, each.why);
  return faults;
}

Readiness::Readiness(const tree::BlobStore& store, nix::BuildProbe& probe, ReadinessSettings settings)
    : Readiness([&store, &probe,
                 settings](const std::stop_token& stop) { return check_all(store, probe, settings.min_free, stop); },
                probe, settings) {}

Readiness::Readiness(Checks checks, nix::BuildProbe& probe, ReadinessSettings settings)
    : checks_(std::move(checks)),
      probe_(probe),
      settings_(settings),
      checking_([this](const std::stop_token& stop) { check_again_and_again(stop); }),
      probing_([this](const std::stop_token& stop) { probe_again_and_again(stop); }) {}

Readiness::~Readiness() {
  checking_.request_stop();  // both, before joining either
  probing_.request_stop();
}

void Readiness::check_again_and_again(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    is_wanted_ = false;
    checking_since_ = Clock::now();
    lock.unlock();
    auto found = checks_(stop);
    if (!stop.stop_requested()) log_change(found);
    lock.lock();
    checking_since_.reset();
    found_ = std::move(found);
    found_at_ = Clock::now();
    wanted_.wait_for(lock, stop, settings_.every, [this] { return is_wanted_; });
  }
}

void Readiness::probe_again_and_again(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any waiting;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    const auto before = probe_.last();
    // A failed build may also have run it.
    const std::string trouble =
        probe_.trouble(before.value_or("").empty() ? settings_.probe_every : settings_.probe_again, stop);
    if (before != trouble) want();
    waiting.wait_for(lock, stop, settings_.probe_again, [] { return false; });
  }
}

void Readiness::log_change(const std::vector<ReadinessCheck>& checks) {
  std::string faults = faults_in(checks);
  if (faults == logged_) return;
  if (faults.empty()) {
    log::info("ready again");
  } else {
    log::error("not ready", {{"error", faults}});
  }
  logged_ = std::move(faults);
}

void Readiness::want() {
  {
    const std::lock_guard lock(mutex_);
    is_wanted_ = true;
  }
  wanted_.notify_all();
}

std::vector<ReadinessCheck> Readiness::latest() {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  if (draining_) return {{"draining", "the worker is about to end"}};
  if (!probe_.last() || found_.empty()) return {{"answer", "the checks have not ended yet"}};
  if (checking_since_ && now - *checking_since_ > settings_.check_timeout)
    return {{"answer", fmt::format("the checks have not ended after {} s",
                                   std::chrono::floor<std::chrono::seconds>(now - *checking_since_).count())}};
  if (!checking_since_ && now - found_at_ > settings_.fresh) {
    is_wanted_ = true;
    wanted_.notify_all();
  }
  return found_;
}

void Readiness::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

}  // namespace nixery::health
