#include "pipeline/attach.h"

#include <fmt/format.h>

#include "attestations/artifact.h"
#include "attestations/signature.h"
#include "error.h"
#include "image/links.h"
#include "tree/referrers.h"

namespace nixery::pipeline {

namespace {

void publish(const tree::Tree& tree, const attestations::Artifact& artifact) {
  for (const std::string& blob : artifact.blobs) tree.publish_blob(blob);
  tree.publish_manifest(artifact.manifest, artifact.descriptor.type);
}

tree::StoredManifest manifest_of(const tree::Tree& tree, const image::Digest& digest) {
  if (auto stored = tree.manifest(digest)) return *std::move(stored);
  throw Error(Failure::unavailable, fmt::format("the image {} was removed before it was signed", digest.str()));
}

}  // namespace

void attach_documents(const tree::Tree& tree, const attestations::Subject& subject, std::string_view builder_id) {
  std::vector<image::Descriptor> referrers;
  for (const attestations::Artifact& artifact : attestations::document_artifacts(subject, builder_id)) {
    publish(tree, artifact);
    referrers.push_back(artifact.descriptor);
  }
  tree::publish_referrers(tree, subject.manifest.digest, referrers);
}

void attach_signatures(const tree::Tree& tree, const attestations::SigningKey& key, std::string_view identity,
                       std::string_view repository, const image::Digest& manifest) {
  const auto stored = manifest_of(tree, manifest);
  for (const image::Link& member : image::links_of(stored.bytes, manifest).members)
    attach_signatures(tree, key, identity, repository, member.digest);

  const auto signature =
      attestations::sign(key, fmt::format("{}{}{}", identity, identity.empty() ? "" : "/", repository),
                         {stored.type, manifest, stored.bytes.size(), {}, {}});
  publish(tree, signature.referrer);
  tree::publish_referrers(tree, manifest, {{signature.referrer.descriptor}});
  publish(tree, signature.tagged);
  tree.publish_tag(repository, signature.tag, signature.tagged.descriptor.digest);
}

}  // namespace nixery::pipeline
