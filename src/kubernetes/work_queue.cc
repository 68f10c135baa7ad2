#include "kubernetes/work_queue.h"

#include <algorithm>
#include <random>

namespace nixery::kubernetes {

milliseconds back_off(unsigned failures, milliseconds least, milliseconds most, double random) {
  milliseconds whole = least;
  for (unsigned i = 0; i < failures && whole < most; ++i) whole *= 2;
  whole = std::min(whole, most);
  const auto half = static_cast<double>(whole.count()) / 2;
  return milliseconds(static_cast<milliseconds::rep>(half + half * random));
}

double random_part() {
  thread_local std::mt19937 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(generator);
}

void Schedule::enter(const std::string& key, Clock::time_point when) {
  if (const auto wish = not_before_.find(key); wish != not_before_.end()) when = std::max(when, wish->second);
  const auto [at, fresh] = due_.try_emplace(key, when);
  if (!fresh) {
    if (at->second <= when) return;
    by_time_.erase({at->second, key});
    at->second = when;
  }
  by_time_.emplace(when, key);
}

void Schedule::add(const std::string& key, Clock::time_point when) {
  const auto working = working_.find(key);
  if (working == working_.end()) return enter(key, when);
  working->second = std::min(working->second.value_or(when), when);
}

void Schedule::add_after_failure(const std::string& key, Clock::time_point now, double random, milliseconds at_least) {
  if (at_least > milliseconds(0)) not_before_[key] = now + at_least;
  add(key, now + std::max(at_least, back_off(failures_[key]++, least_, most_, random)));
}

void Schedule::forget(const std::string& key) {
  failures_.erase(key);
  not_before_.erase(key);
}

std::optional<std::string> Schedule::take(Clock::time_point now) {
  if (by_time_.empty() || by_time_.begin()->first > now) return std::nullopt;
  std::string key = by_time_.begin()->second;
  by_time_.erase(by_time_.begin());
  due_.erase(key);
  working_[key] = std::nullopt;
  return key;
}

void Schedule::done(const std::string& key) {
  const auto node = working_.extract(key);
  if (!node.empty() && node.mapped()) enter(key, *node.mapped());
}

std::optional<Clock::time_point> Schedule::next_due() const {
  if (by_time_.empty()) return std::nullopt;
  return by_time_.begin()->first;
}

void WorkQueue::add(const std::string& key, milliseconds delay) {
  const std::lock_guard lock(mutex_);
  schedule_.add(key, Clock::now() + delay);
  changed_.notify_one();
}

void WorkQueue::add_after_failure(const std::string& key, milliseconds at_least) {
  const std::lock_guard lock(mutex_);
  schedule_.add_after_failure(key, Clock::now(), random_part(), at_least);
  changed_.notify_one();
}

void WorkQueue::forget(const std::string& key) {
  const std::lock_guard lock(mutex_);
  schedule_.forget(key);
}

std::optional<std::string> WorkQueue::take() {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    if (auto key = schedule_.take(Clock::now())) return key;
    if (const auto due = schedule_.next_due())
      changed_.wait_until(lock, *due);
    else
      changed_.wait(lock);
  }
  return std::nullopt;
}

void WorkQueue::done(const std::string& key) {
  const std::lock_guard lock(mutex_);
  schedule_.done(key);
  changed_.notify_one();
}

void WorkQueue::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

}  // namespace nixery::kubernetes
