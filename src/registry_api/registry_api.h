// The OCI registry API: manifests, blobs and lists (distribution-spec v1.1). Requests in; responses out, or jobs to
// wait for.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/handler_result.h"
#include "jobs/cached_value.h"
#include "pipeline/builder.h"
#include "tree/tree.h"

namespace nixery::registry_api {

struct RegistrySettings {
  std::chrono::seconds hop{20};  // that a request waits before it is redirected to the same URL
  unsigned hops = 9;             // such redirects
  bool catalog = true;           // whether /v2/_catalog answers
};

// Thread-safe. Every function throws Error; `repository` and `reference` may be any bytes.
class RegistryApi {
 public:
  RegistryApi(pipeline::Builder& builder, const tree::Tree& tree, RegistrySettings settings);

  http::HandlerResult manifest(const http::Request& request, std::string_view repository,
                               std::string_view reference) const;
  http::HandlerResult blob(const http::Request& request, std::string_view repository, std::string_view digest) const;
  http::HandlerResult catalog(const http::Request& request) const;
  http::Response tags(const http::Request& request, std::string_view repository) const;
  http::Response referrers(const http::Request& request, std::string_view repository, std::string_view digest) const;

 private:
  http::Waiting wait_for(const http::Request& request, const std::shared_ptr<pipeline::BuildJob>& job,
                         std::function<http::Response(const pipeline::BuildQueue::Result&)> when_finished,
                         const std::string& log_address = {}) const;

  pipeline::Builder& builder_;
  const tree::Tree& tree_;
  const RegistrySettings settings_;
  mutable jobs::CachedValue<std::vector<std::string>> repositories_;  // listing them walks the tree
};

}  // namespace nixery::registry_api
