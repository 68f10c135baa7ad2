// The progress of a build for a page: its state once (/api/build), or all changes as server-sent events (/api/events;
// HTML, "Server-sent events").
//
//   event: state    data: build_state() without the log, after each change
//   event: log      data: {"lines":[…]}, Nix's output; after a gap the first line says so
//   event: built    data: {"digest":"sha256:…"}; the last one
//   event: failed   data: {"failure":"build_failed","message":"…"}; the last one
//
// Thread-safe.
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

// {"reference":…,"state":…,…}. The states: "absent" (not requested), "queued", "building", "built", "failed". "log" has
// the last lines during a build and after a failure.
std::string build_state(const pipeline::Builder& builder, const tree::Tree& tree,
                        const reference::Reference& reference);

// Follows one build; not thread-safe. Waits for an image that is not being built, because the client may be about to
// pull it.
class BuildEvents {
 public:
  BuildEvents(const pipeline::Builder& builder, const tree::Tree& tree, reference::Reference reference);

  // New events since the last call; nullopt after the last one was returned.
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
  text::LineBuffer unfinished_line_;  // after read_
  bool began_ = false;
  bool over_ = false;
};

}  // namespace nixery::web
