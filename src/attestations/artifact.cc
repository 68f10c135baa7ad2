#include "attestations/artifact.h"

#include "attestations/cyclonedx.h"
#include "attestations/provenance.h"
#include "attestations/spdx.h"

namespace nixery::attestations {

Artifact artifact_of(const image::ArtifactManifest& manifest) {
  const std::string bytes = image::to_json(manifest);
  return {{std::string(manifest.config.bytes), std::string(manifest.layer.bytes)},
          bytes,
          {image::MediaType::oci_manifest,
           image::Digest::of(bytes),
           bytes.size(),
           manifest.annotations,
           {},
           std::string(manifest.artifact_type)}};
}

Artifact make_artifact(const Document& document, const image::Descriptor& subject) {
  image::ArtifactManifest manifest;
  manifest.artifact_type = document.media_type;
  manifest.config = {image::empty_media_type, image::empty_config, {}};
  manifest.layer = {document.media_type, document.bytes, {}};
  manifest.subject = &subject;
  manifest.annotations = document.annotations;
  manifest.annotations.emplace("org.opencontainers.image.created", created);  // tools sort by it
  return artifact_of(manifest);
}

std::vector<Artifact> document_artifacts(const Subject& subject, std::string_view builder_id) {
  return {make_artifact({spdx_media_type, spdx_document(subject), {}}, subject.manifest),
          make_artifact({cyclonedx_media_type, cyclonedx_document(subject), {}}, subject.manifest),
          make_artifact({provenance_media_type,
                         provenance_statement(subject, builder_id),
                         {{"in-toto.io/predicate-type", std::string(provenance_predicate_type)}}},
                        subject.manifest)};
}

}  // namespace nixery::attestations
