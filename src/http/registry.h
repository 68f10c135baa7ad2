// The registry's routes: a request in; an answer out, or a flight to wait for. Knows nothing of sockets.
#pragma once

#include <chrono>
#include <memory>
#include <variant>

#include "build/builder.h"
#include "http/message.h"

namespace nixery::http {

// A request whose answer is being built.
struct Waiting {
  Request request;
  std::shared_ptr<build::Flight> flight;
  std::chrono::steady_clock::time_point deadline;  // then it is redirected to itself
  std::function<Response(const build::Landing&)> when_landed;
};

struct RegistrySettings {
  std::chrono::seconds hop{20};  // that a request waits before it is redirected to itself
  unsigned hops = 9;             // such redirects
  bool catalog = true;           // whether /v2/_catalog answers
};

// Thread-safe.
class Registry {
 public:
  Registry(build::Builder& builder, const tree::Tree& tree, RegistrySettings settings)
      : builder_(builder), tree_(tree), settings_(settings) {}

  // Never throws: every failure is an answer.
  std::variant<Response, Waiting> answer(const Request& request) const;

  // The answer once the flight has landed or the deadline has passed.
  Response resume(const Waiting& waiting) const;

 private:
  std::variant<Response, Waiting> route(const Request& request) const;
  std::variant<Response, Waiting> manifest(const Request& request, std::string_view repository,
                                           std::string_view reference) const;
  std::variant<Response, Waiting> blob(const Request& request, std::string_view digest) const;
  Waiting wait_for(const Request& request, std::shared_ptr<build::Flight> flight,
                   std::function<Response(const build::Landing&)> when_landed) const;

  build::Builder& builder_;
  const tree::Tree& tree_;
  const RegistrySettings settings_;
};

}  // namespace nixery::http
