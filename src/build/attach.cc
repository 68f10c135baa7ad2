#include "build/attach.h"

#include <fmt/format.h>

#include "error.h"
#include "supply/artifact.h"
#include "supply/signature.h"
#include "tree/referrers.h"

namespace nixery::build {

namespace {

void publish(const tree::Tree& tree, const supply::Artifact& artifact) {
  for (const std::string& blob : artifact.blobs) tree.publish_blob(blob);
  tree.publish_manifest(artifact.manifest, artifact.descriptor.type);
}

void publish_referrer(const tree::Tree& tree, const image::Digest& subject, const supply::Artifact& artifact) {
  publish(tree, artifact);
  tree::publish_referrer(tree, subject, {artifact.descriptor, artifact.type});
}

}  // namespace

void attach_documents(const tree::Tree& tree, const supply::Subject& subject, std::string_view builder_id) {
  for (const supply::Artifact& artifact : supply::document_artifacts(subject, builder_id))
    publish_referrer(tree, subject.manifest.digest, artifact);
}

void attach_signature(const tree::Tree& tree, const supply::SigningKey& key, std::string_view identity,
                      std::string_view repository, const image::Digest& manifest) {
  const auto stored = tree.manifest(manifest);
  if (!stored)
    throw Error(Failure::unavailable, fmt::format("the image {} was removed before it was signed", manifest.str()));
  const auto signature = supply::sign(key, fmt::format("{}{}{}", identity, identity.empty() ? "" : "/", repository),
                                      {stored->type, manifest, stored->bytes.size(), {}, {}});
  publish_referrer(tree, manifest, signature.referrer);
  publish(tree, signature.tagged);
  tree.publish_tag(repository, signature.tag, signature.tagged.descriptor.digest);
}

}  // namespace nixery::build
