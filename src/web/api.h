// JSON for the web page and for programs, under /api/:
//
//   search?q=TEXT           packages whose names begin with TEXT or contain it, at most 50
//   plan/<name>[:tag]       the plan of an image: one for each platform, as printed by `nixery plan --json`
//   images                  the most recent builds, at most 50; cached if the tree is large
//   image/<name>[:tag]      a built image: packages, licences, layers, attachments
//   failures                the last failures, at most 50
//   build/<name>[:tag]      the state of its build
//   events/<name>[:tag]     the same as server-sent events (build_events.h)
//
// Nothing here starts a build; only pulls do. Requests wait a while for evaluations and for the first list, and then
// get 202 with Retry-After. Failures are answered as everywhere (answers.h). Responses must not be cached.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "http/handler_result.h"
#include "jobs/cached_value.h"
#include "pipeline/builder.h"
#include "pipeline/planner.h"
#include "tree/tree.h"

namespace nixery::web {

struct ApiSettings {
  std::chrono::seconds evaluation_wait{20};  // with an evaluation
  bool lists = true;                         // whether images and failures are listed
};

// Thread-safe. Every function throws Error; `image` is "name[:tag]", of any bytes.
class Api {
 public:
  Api(pipeline::Builder& builder, pipeline::Planner& planner, const tree::Tree& tree, ApiSettings settings)
      : builder_(builder),
        planner_(planner),
        tree_(tree),
        settings_(settings),
        listed_([this] { return make_list(); }, [this] { return builder_.metrics().images_changed(); },
                {std::chrono::seconds(3)}) {}
  Api(const Api&) = delete;

  http::HandlerResult search(const http::Request& request) const;
  http::HandlerResult plan(const http::Request& request, std::string_view image) const;
  http::HandlerResult images(const http::Request& request) const;
  http::Response image(std::string_view image) const;
  http::Response failures() const;
  http::Response build(std::string_view image) const;
  http::Streaming events(std::string_view image) const;

 private:
  reference::Reference find(std::string_view image) const;
  std::string matches_json(const std::string& text, const pipeline::Planner::Matches& matches) const;
  std::string make_list() const;
  void check_lists() const;

  pipeline::Builder& builder_;
  pipeline::Planner& planner_;
  const tree::Tree& tree_;
  const ApiSettings settings_;

  mutable jobs::CachedValue<std::string> listed_;  // making it walks the tree
};

}  // namespace nixery::web
