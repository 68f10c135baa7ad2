// Whether all that is served is what it claims to be: every byte against its digest, every reference to its end.
//
// Safe beside builds and pulls: what is published while it runs is looked at or not. Each blob is read once, on all
// cores; memory is an inventory's (inventory.h). Throws Error{too_busy} while a collection or another verification
// runs, Error{bad_config} where there is no tree.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tree/directory_store.h"

namespace nixery::maintenance {

struct Problem {
  std::string what;       // "blob", "manifest", "tag", "referrers", "signature", "record", "index", "directory"
  std::string name;       // a digest, "shell/git:latest", or a file
  std::string message;    // what is wrong with it, and why that could not be repaired
  bool repaired = false;  // it is gone: the next pull builds it anew
};

struct Verification {
  std::size_t blobs = 0, manifests = 0, tags = 0, index_entries = 0;  // that were looked at
  std::uint64_t bytes = 0;                                            // that were hashed
  std::size_t evicted = 0;  // blobs that are gone, and are made again when they are asked for: layers, configs
  std::vector<Problem> problems;

  bool sound() const;  // no problem, or all repaired
};

struct VerifyOptions {
  bool repair = false;
  bool signatures = false;  // every image that has a tag should have them
  unsigned threads = 0;     // that hash; 0: one for each core
  std::function<void(std::uint64_t done, std::uint64_t all)> on_progress;  // bytes; by several threads, one at a time
};

// With `repair`: wrong bytes are removed, and so are an image that lacks something that neither a recipe nor a copy can
// bring back or whose config is not true, tags that lead nowhere or contradict their records, damaged records, and the
// tags of an image that lost something that was attached to it; lists of referrers are written again, and so is what
// the index of layers and segments lacks.
Verification verify(const std::shared_ptr<const tree::DirectoryStore>& store, const VerifyOptions& options);

}  // namespace nixery::maintenance
