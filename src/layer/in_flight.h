// Keys of layers being written in this process, so that two builds never compress the same layer at the same time.
// Thread-safe.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>

namespace nixery::layer {

class InFlight {
 public:
  class Token {
   public:
    Token(InFlight* owner, std::string key) : owner_(owner), key_(std::move(key)) {}
    Token(Token&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)), key_(std::move(other.key_)) {}
    Token& operator=(Token&&) = delete;
    ~Token() {
      if (owner_) owner_->leave(key_);
    }

   private:
    InFlight* owner_;
    std::string key_;
  };

  // Waits while another holds `key`; nullopt once stop is requested. The token must not outlive this.
  std::optional<Token> enter(const std::string& key, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (!left_.wait(lock, stop, [&] { return !keys_.contains(key); })) return std::nullopt;
    keys_.insert(key);
    return Token{this, key};
  }

 private:
  void leave(const std::string& key) {
    const std::lock_guard lock(mutex_);
    keys_.erase(key);
    left_.notify_all();
  }

  std::mutex mutex_;  // guards what follows
  std::condition_variable_any left_;
  std::set<std::string> keys_;
};

}  // namespace nixery::layer
