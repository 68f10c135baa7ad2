// A tag and its record, which change together under the tag's lock, so that dropping a tag never removes what another
// process has just published. Thread-safe, and safe between processes and hosts that share the store. Throws
// Error{storage}, and Error{unavailable} if the lock is not free within five minutes.
#pragma once

#include <stop_token>
#include <string_view>

#include "image/digest.h"
#include "tree/records.h"
#include "tree/tree.h"

namespace nixery::tree {

// Publishes the tag of `record`. The caller holds the tree lock (tree_lock.h) and has touched the manifest.
void publish_tag_with_record(const Tree& tree, const TagRecord& record, const image::Digest& manifest,
                             const std::stop_token& stop = {});

// Drops the tag and its record unless the record has changed. True if it did.
bool drop_tag_with_record(const Tree& tree, const TagRecord& record);

// Drops the tag and its record if that is still damaged or absent. True if it did.
bool drop_tag_without_record(const Tree& tree, std::string_view repository, std::string_view tag);

// Whether the tag's manifest differs from its record's. False if either is absent.
bool contradicts_record(const Tree& tree, std::string_view repository, std::string_view tag);

}  // namespace nixery::tree
