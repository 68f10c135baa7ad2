// Verifies everything that is served: every byte against its digest, and every reference.
//
// Safe with concurrent builds and pulls; files published meanwhile may be checked or not. Each blob is read once, on
// all cores; memory is that of an inventory (inventory.h). Throws Error{too_busy} while a collection or another
// verification runs, Error{bad_config} if there is no tree.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tree/blob_store.h"

namespace nixery::maintenance {

struct Problem {
  std::string what;       // "blob", "manifest", "tag", "referrers", "signature", "record", "index", "directory"
  std::string name;       // a digest, "shell/git:latest", or a file
  std::string message;    // the problem, and the reason if it could not be repaired
  bool repaired = false;  // it was removed: the next pull builds it again
};

struct Verification {
  std::size_t blobs = 0, manifests = 0, tags = 0, index_entries = 0;  // that were looked at
  std::uint64_t bytes = 0;                                            // that were hashed
  std::size_t evicted = 0;  // missing blobs that are rebuilt on demand: layers, configs
  std::vector<Problem> problems;

  bool sound() const;  // no problem, or all repaired
};

struct VerifyOptions {
  bool repair = false;
  bool signatures = false;                                                 // every tagged image should have them
  unsigned threads = 0;                                                    // that hash; 0: one for each core
  std::function<void(std::uint64_t done, std::uint64_t all)> on_progress;  // bytes; by several threads, one at a time
};

// With `repair`, these are removed: wrong bytes, images with parts that neither a recipe nor a copy can restore or with
// a wrong config, tags that dangle or contradict their records, damaged records, and the tags of an image that lost an
// attachment. Lists of referrers and missing entries of the index of layers and segments are written again.
Verification verify(const std::shared_ptr<const tree::BlobStore>& store, const VerifyOptions& options);

}  // namespace nixery::maintenance
