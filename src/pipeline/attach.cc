#include "pipeline/attach.h"

#include <fmt/format.h>

#include "attestations/artifact.h"
#include "attestations/signature.h"
#include "error.h"
#include "image/parse.h"
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
  for (const image::ParsedDescriptor& member : image::parse_manifest(stored.bytes, manifest).members)
    attach_signatures(tree, key, identity, repository, member.digest);

  const std::string tag = attestations::signature_tag(manifest);
  tree::update_referrers(tree, manifest, [&] {
    std::vector<std::string> published;
    const auto add = [&](const image::Digest& digest) {
      if (auto found = tree.manifest(digest)) published.push_back(std::move(found->bytes));
    };
    if (const auto tagged = tree.digest_of_tag(repository, tag)) add(*tagged);
    for (const image::Descriptor& referrer : tree::referrers_of(tree.store(), manifest))
      if (referrer.artifact_type == attestations::signature_artifact_type) add(referrer.digest);

    const auto signature =
        attestations::sign(key, fmt::format("{}{}{}", identity, identity.empty() ? "" : "/", repository),
                           {stored.type, manifest, stored.bytes.size(), {}, {}}, published);
    publish(tree, signature.referrer);
    publish(tree, signature.tagged);
    tree.publish_tag(repository, tag, signature.tagged.descriptor.digest);
    return std::vector{signature.referrer.descriptor};
  });
}

}  // namespace nixery::pipeline
