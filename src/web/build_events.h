// How a build goes, for a page that shows it: its state once (/api/build), or all that changes, as server-sent events
// (/api/events; HTML, "Server-sent events").
//
//   event: state    data: as build_state() has it, without the log; whenever it has changed
//   event: log      data: {"lines":[…]}, of what nix prints; after a gap the first line says so
//   event: built    data: {"digest":"sha256:…"}; the last one
//   event: failed   data: {"failure":"build_failed","message":"…"}; the last one
//
// Thread-safe, as what they read is.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "pipeline/builder.h"
#include "reference/reference.h"
#include "text/lines.h"
#include "tree/tree.h"

namespace nixery::web {

// {"reference":…,"state":…,…}. The states: "absent" (nobody asked for it), "queued", "building", "built", "failed".
// "log" holds the last lines while it is being built and where it failed.
std::string build_state(const pipeline::Builder& builder, const tree::Tree& tree,
                        const reference::Reference& reference);

// Follows one build; one thread at a time. An image that nobody builds is waited for, as whoever follows it may be just
// about to pull it.
class BuildEvents {
 public:
  BuildEvents(const pipeline::Builder& builder, const tree::Tree& tree, reference::Reference reference);

  // Events that have come up since the last call; nullopt once the last one was returned.
  std::optional<std::string> next();

 private:
  std::string new_lines();

  const pipeline::Builder& builder_;
  const tree::Tree& tree_;
  const reference::Reference reference_;
  const std::string log_;
  std::shared_ptr<pipeline::BuildJob> job_;
  std::string told_;                  // the last state
  std::size_t read_ = 0;              // bytes of the log
  text::LineBuffer unfinished_line_;  // behind them
  bool began_ = false;
  bool over_ = false;
};

}  // namespace nixery::web
