// Collects the findings of a verification, and decides in one place whether to repair.
//
// Thread-safe.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "error.h"
#include "maintenance/verify.h"

namespace nixery::maintenance {

class Findings {
 public:
  explicit Findings(const VerifyOptions& options) : options_(options) {}

  const VerifyOptions& options() const { return options_; }
  bool repairs() const { return options_.repair; }

  // `fix` is called if repairs are wanted; its Error is the reason why nothing was repaired.
  template <typename Fix>
  void problem(std::string_view what, std::string name, std::string message, Fix&& fix) {
    Problem found{std::string(what), std::move(name), std::move(message), false};
    if (options_.repair) {
      try {
        fix();
        found.repaired = true;
      } catch (const Error& error) {
        found.message += fmt::format("; {}", error.what());
      }
    }
    const std::lock_guard lock(mutex_);
    result_.problems.push_back(std::move(found));
  }

  // Leftovers of an interrupted build and stale caches are harmless: the next reader detects and replaces them. A
  // repair removes them anyway.
  template <typename Fix>
  void harmless(std::string_view what, std::string name, std::string message, Fix&& fix) {
    if (options_.repair) problem(what, std::move(name), std::move(message), fix);
  }

  // Adds to one of the Verification's counters.
  template <typename Number>
  void count(Number Verification::*number, Number amount = 1) {
    const std::lock_guard lock(mutex_);
    result_.*number += amount;
  }

  void expect_bytes(std::uint64_t total) { total_ = total; }
  void hashed(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    result_.bytes += bytes;
    if (options_.on_progress) options_.on_progress(result_.bytes, std::max(total_, result_.bytes));
  }

  Verification take() { return std::move(result_); }

 private:
  const VerifyOptions& options_;
  std::uint64_t total_ = 0;
  std::mutex mutex_;  // guards result_
  Verification result_;
};

}  // namespace nixery::maintenance
