// Whether all that is served is what it claims to be: every byte against its digest, every reference to its end.
//
// Safe beside builds and pulls: what is published while it runs is looked at or not. Each blob is read once, on all
// cores; memory is an inventory's (inventory.h). Throws Error{too_busy} while a collection or another verification
// runs, Error{bad_config} where there is no tree.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tree/layout.h"

namespace nixery::maintenance {

struct Problem {
  std::string what;       // "blob", "manifest", "tag", "referrers", "record", "index"
  std::string name;       // a digest, "shell/git:latest", or a file
  std::string message;    // what is wrong with it, and why that could not be repaired
  bool repaired = false;  // it is gone: the next pull builds it anew
};

struct Verification {
  std::size_t blobs = 0, manifests = 0, tags = 0, index_entries = 0;  // that were looked at
  std::uint64_t bytes = 0;                                            // that were hashed
  std::size_t evicted =
      0;  // layers that are not there, but will be made again from their recipe when they are asked for
  std::vector<Problem> problems;

  bool sound() const;  // no problem, or all repaired
};

struct VerifyOptions {
  bool repair = false;
  unsigned threads = 0;                                                    // that hash; 0: one for each core
  std::function<void(std::uint64_t done, std::uint64_t all)> on_progress;  // bytes; by several threads, one at a time
};

// With `repair`: wrong bytes are removed, and so are an image that lacks something that no recipe can bring back, tags
// and index entries that lead nowhere, and the tags of an image that lost something that was attached to it; lists of
// referrers are written anew, and so is what the index of layers and segments lacks.
Verification verify(const tree::Layout& layout, const VerifyOptions& options);

}  // namespace nixery::maintenance
