// What a verification has found so far. The checks report here; whether repairs are wanted is decided in one place.
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

  // `fix` is called if repairs are wanted; an Error that it throws is why nothing was repaired.
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

  // What an interrupted build leaves, and a cache that is behind the tree, affect nobody: the next reader notices and
  // makes it again. A repair removes it all the same.
  template <typename Fix>
  void harmless(std::string_view what, std::string name, std::string message, Fix&& fix) {
    if (options_.repair) problem(what, std::move(name), std::move(message), fix);
  }

  // Counts, in one of the Verification's numbers.
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

// Both throw Error{storage} if it stays.
void remove_file(const std::filesystem::path& file);
void remove_entry(const std::filesystem::path& path);  // with all that is in it

}  // namespace nixery::maintenance
