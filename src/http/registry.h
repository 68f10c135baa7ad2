// The registry's routes: a request in; an answer out, or a job to wait for, or a stream. Knows nothing of sockets.
#pragma once

#include <chrono>
#include <memory>

#include "http/api.h"
#include "http/handler_result.h"
#include "http/routes.h"
#include "http/status.h"
#include "pipeline/builder.h"
#include "pipeline/planner.h"
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
  Registry(pipeline::Builder& builder, pipeline::Planner& planner, const tree::Tree& tree, RegistrySettings settings,
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
  HandlerResult answer(const Request& request) const;

  // The answer once the job has landed or the deadline has passed.
  Response resume(const Waiting& waiting) const;

 private:
  HandlerResult route(const Request& request) const;
  HandlerResult manifest(const Request& request, std::string_view repository, std::string_view reference) const;
  HandlerResult blob(const Request& request, std::string_view digest) const;
  HandlerResult list_all(const Request& request) const;
  Waiting wait_for(const Request& request, const std::shared_ptr<pipeline::BuildJob>& job,
                   std::function<Response(const pipeline::BuildQueue::Result&)> when_finished) const;

  pipeline::Builder& builder_;
  const tree::Tree& tree_;
  const RegistrySettings settings_;
  Status* const status_;
  const Api api_;
  mutable CachedValue<std::vector<std::string>> repositories_;  // to list them, one walks the tree
};

}  // namespace nixery::http
