#include "attestations/artifact.h"

#include "attestations/cyclonedx.h"
#include "attestations/manifest_json.h"
#include "attestations/provenance.h"
#include "attestations/spdx.h"

namespace nixery::attestations {

Artifact make_artifact(const Document& document, const image::Descriptor& subject) {
  ManifestJson manifest;
  manifest.artifact_type = document.media_type;
  manifest.config = {empty_media_type, empty_config, {}};
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
