// JSON for the web page and for programs, under /api/:
//
//   search?q=TEXT           packages whose names begin with TEXT or hold it, at most 50
//   plan/<name>[:tag]       what an image would hold: a plan for each platform, as `nixery plan --json` prints it
//   images                  what was built last, at most 50
//   image/<name>[:tag]      one that is built: packages, licences, layers, what is attached
//   failures                the last failures, at most 50
//   build/<name>[:tag]      how its build goes
//   events/<name>[:tag]     likewise, as it changes: server-sent events (build_events.h)
//
// Nothing here builds or starts a build: that is what pulling does. What has to be evaluated first is waited for a
// while, then the answer is 202 with Retry-After: ask again. Failures are answered as everywhere (answers.h). Nothing
// may be cached.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "build/builder.h"
#include "build/planner.h"
#include "http/outcome.h"
#include "tree/tree.h"

namespace nixery::http {

struct ApiSettings {
  std::chrono::seconds patience{20};  // with an evaluation
  bool lists = true;                  // whether images and failures answer
};

// Thread-safe.
class Api {
 public:
  Api(build::Builder& builder, build::Planner& planner, const tree::Tree& tree, ApiSettings settings)
      : builder_(builder), planner_(planner), tree_(tree), settings_(settings) {}

  // Whether the path is one of ours.
  static bool owns(std::string_view path) { return path.starts_with("/api/"); }
  // Throws every Error.
  Outcome answer(const Request& request) const;

 private:
  Outcome search(const Request& request) const;
  std::string matches_json(const std::string& text, const build::Planner::Matches& matches) const;
  Outcome plan(const Request& request, const reference::Reference& reference) const;
  Response images() const;
  Response image(const reference::Reference& reference) const;
  Response failures() const;
  Outcome events(const reference::Reference& reference) const;
  void check_lists() const;

  build::Builder& builder_;
  build::Planner& planner_;
  const tree::Tree& tree_;
  const ApiSettings settings_;

  // The list of images as it was a moment ago: to make it, one walks the tree.
  mutable std::mutex listing_;  // guards what follows; its holder walks
  mutable std::string listed_;
  mutable std::chrono::steady_clock::time_point listed_at_{};
};

}  // namespace nixery::http
