// The registry's routes: a request in; an answer out, or a flight to wait for, or a stream. Knows nothing of sockets.
#pragma once

#include <chrono>
#include <memory>

#include "build/builder.h"
#include "build/planner.h"
#include "http/api.h"
#include "http/outcome.h"
#include "http/place.h"
#include "http/status.h"
#include "tree/listing.h"

namespace nixery::http {

struct RegistrySettings {
  std::chrono::seconds hop{20};  // that a request waits before it is redirected to itself
  unsigned hops = 9;             // such redirects
  bool catalog = true;           // whether /v2/_catalog answers, and the lists under /api/
};

// Thread-safe.
class Registry {
 public:
  // Without a `status` there are no such addresses.
  Registry(build::Builder& builder, build::Planner& planner, const tree::Tree& tree, RegistrySettings settings,
           Status* status = nullptr)
      : builder_(builder),
        tree_(tree),
        settings_(settings),
        status_(status),
        api_(builder, planner, tree, {settings.hop, settings.catalog}),
        repositories_([this] { return tree::repositories(tree_.layout()); },
                      [this] { return images_changed(builder_.metrics()); }) {}
  Registry(const Registry&) = delete;

  // Never throws: every failure is an answer.
  Outcome answer(const Request& request) const;

  // The answer once the flight has landed or the deadline has passed.
  Response resume(const Waiting& waiting) const;

 private:
  Outcome route(const Request& request) const;
  Outcome manifest(const Request& request, std::string_view repository, std::string_view reference) const;
  Outcome blob(const Request& request, std::string_view digest) const;
  Response list_all(const Request& request) const;
  Waiting wait_for(const Request& request, std::shared_ptr<build::Flight> flight,
                   std::function<Response(const build::Landing&)> when_landed) const;

  build::Builder& builder_;
  const tree::Tree& tree_;
  const RegistrySettings settings_;
  Status* const status_;
  const Api api_;
  mutable Kept<std::vector<std::string>> repositories_;  // to list them, one walks the tree
};

}  // namespace nixery::http
