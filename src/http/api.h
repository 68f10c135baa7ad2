// JSON for the web page and for programs, under /api/:
//
//   search?q=TEXT           packages whose names begin with TEXT or hold it, at most 50
//   plan/<name>[:tag]       what an image would hold: a plan for each platform, as `nixery plan --json` prints it
//   images                  what was built last, at most 50; kept for a while where the tree is large
//   image/<name>[:tag]      one that is built: packages, licences, layers, what is attached
//   failures                the last failures, at most 50
//   build/<name>[:tag]      how its build goes
//   events/<name>[:tag]     likewise, as it changes: server-sent events (build_events.h)
//
// Nothing here builds or starts a build: that is what pulling does. What has to be evaluated first is waited for a
// while, and so is the first list; then the answer is 202 with Retry-After: ask again. Failures are answered as
// everywhere (answers.h). Nothing may be cached.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "build/builder.h"
#include "build/planner.h"
#include "http/kept.h"
#include "http/outcome.h"
#include "tree/tree.h"

namespace nixery::http {

// Goes up whenever this worker may have published an image: for lists of them that are kept.
inline std::uint64_t images_changed(metrics::Metrics& metrics) {
  return metrics.built.value() + metrics.found.value() + metrics.requests.of(metrics::Route::manifest, 200).value();
}

struct ApiSettings {
  std::chrono::seconds patience{20};  // with an evaluation
  bool lists = true;                  // whether images and failures answer
};

// Thread-safe.
class Api {
 public:
  Api(build::Builder& builder, build::Planner& planner, const tree::Tree& tree, ApiSettings settings)
      : builder_(builder),
        planner_(planner),
        tree_(tree),
        settings_(settings),
        listed_([this] { return make_list(); }, [this] { return images_changed(builder_.metrics()); },
                {std::chrono::seconds(3)}) {}
  Api(const Api&) = delete;

  // Whether the path is one of ours.
  static bool owns(std::string_view path) { return path.starts_with("/api/"); }
  // Throws every Error.
  Outcome answer(const Request& request) const;

 private:
  Outcome search(const Request& request) const;
  std::string matches_json(const std::string& text, const build::Planner::Matches& matches) const;
  Outcome plan(const Request& request, const reference::Reference& reference) const;
  Response images() const;
  std::string make_list() const;
  Response image(const reference::Reference& reference) const;
  Response failures() const;
  Outcome events(const reference::Reference& reference) const;
  void check_lists() const;

  build::Builder& builder_;
  build::Planner& planner_;
  const tree::Tree& tree_;
  const ApiSettings settings_;

  mutable Kept<std::string> listed_;  // to make it, one walks the tree
};

}  // namespace nixery::http
