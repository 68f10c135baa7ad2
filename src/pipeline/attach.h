// Publishes an image's attachments: SBOMs, provenance, signatures.
#pragma once

#include <string_view>

#include "attestations/signing_key.h"
#include "attestations/subject.h"
#include "tree/tree.h"

namespace nixery::pipeline {

// SPDX, CycloneDX and provenance, as referrers of the subject's manifest, which must be in the tree. Idempotent.
void attach_documents(const tree::Tree& tree, const attestations::Subject& subject, std::string_view builder_id);

// Signs a manifest of the tree, or an index and its members, under the name of `repository`: as referrers and signature
// tags. Idempotent: a valid published signature stays the only one of its key, name and digest. `identity` precedes the
// name in the signature; may be empty.
void attach_signatures(const tree::Tree& tree, const attestations::SigningKey& key, std::string_view identity,
                       std::string_view repository, const image::Digest& manifest);

}  // namespace nixery::pipeline
