// Referrers of a manifest: SBOMs, provenance, signatures. OCI distribution-spec v1.1, "Listing Referrers" and
// "Referrers Tag Schema"; image-spec v1.1, descriptor.md.
//
// Of each subject, the store has one object for each referrer, its descriptor, and the list as it is answered, which is
// made from all of them under a lock.
//
// Equal referrers give equal bytes, in any order of publication. Thread-safe, and safe between processes that share the
// store. Throws Error{storage}.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "image/manifest.h"
#include "tree/tree.h"

namespace nixery::tree {

// Ascending by artifact type, then digest. Empty for a subject without referrers or outside of the tree. Torn
// descriptors are ignored.
std::vector<image::Descriptor> referrers_of(const BlobStore& store, const image::Digest& subject);

// An image index of the referrers in the given order; also of none.
std::string referrers_index(std::vector<image::Descriptor> referrers);

// Adds the referrers to the subject's list; each replaces one of the same digest. Their `artifact_type` is their
// manifest's artifactType or, without one, its config's media type; they have no platform. Idempotent. Publish their
// blobs and manifests first, because the list is visible at once.
void publish_referrers(const Tree& tree, const image::Digest& subject, std::span<const image::Descriptor> referrers);

// The same with the referrers that `make` returns, which may read the present ones. The list is locked until it
// returns.
void update_referrers(const Tree& tree, const image::Digest& subject,
                      const std::function<std::vector<image::Descriptor>()>& make);

// Retires all of a subject's referrers and their list (BlobStore::retire()).
void retire_referrers(const BlobStore& store, const image::Digest& subject);

// The subject of a digest tag, "sha256-<hex>", also with ".sig" and similar endings; nullopt for any other tag.
std::optional<image::Digest> subject_of_digest_tag(std::string_view tag);

// The subject of "sha256-<hex>", the tag that clients without the referrers API use for the list; nullopt for any other
// tag.
std::optional<image::Digest> subject_of_fallback_tag(std::string_view tag);

}  // namespace nixery::tree
