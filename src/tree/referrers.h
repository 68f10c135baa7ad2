// What refers to a manifest: SBOMs, provenance, signatures. OCI distribution-spec v1.1, "Listing Referrers" and
// "Referrers Tag Schema"; image-spec v1.1, descriptor.md.
//
//   TREE/referrers/sha256/<subject>/<referrer>.json    one referrer's descriptor: the truth
//   TREE/referrers/sha256/<subject>/index.oci-index    the list as it is answered: made from all of them, by a lock's
//   holder
//
// Equal referrers give equal bytes, in whatever order they were published. Thread-safe, and safe between processes that
// share STATE. Throws Error{storage}.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "image/manifest.h"
#include "tree/layout.h"
#include "tree/tree.h"

namespace nixery::tree {

struct Referrer {
  image::Descriptor manifest;  // its type, digest, size in bytes, annotations; no platform
  std::string artifact_type;   // the manifest's artifactType or, where it has none, its config's media type
};

// Ascending by artifact type, then digest. None for a subject without referrers, or one that is not in the tree.
// Descriptors that a power cut tore are passed over.
std::vector<Referrer> referrers_of(const Layout& layout, const image::Digest& subject);

// An image index of them in the order given; the empty one too.
std::string referrers_index(std::span<const Referrer> referrers);

// Adds the referrer to the subject's list, or replaces the one with its digest. Idempotent. Publish its blobs and its
// manifest first: the list shows at once.
void publish_referrer(const Tree& tree, const image::Digest& subject, const Referrer& referrer);

// "sha256-<hex>": the tag where clients that know no referrers API look.
std::string fallback_tag(const image::Digest& subject);
// Publishes the subject's list under that tag of `repository`, which must have passed the reference parser; does
// nothing where the list is empty. Call it after each publish_referrer() that it is to show.
void publish_fallback_tag(const Tree& tree, std::string_view repository, const image::Digest& subject);

fs::path referrers_dir(const Layout& layout, const image::Digest& subject);
fs::path referrer_file(const Layout& layout, const image::Digest& subject, const image::Digest& referrer);
fs::path referrers_index_file(const Layout& layout, const image::Digest& subject);

}  // namespace nixery::tree
