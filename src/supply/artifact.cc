#include "supply/artifact.h"

#include "supply/cyclonedx.h"
#include "supply/manifest_json.h"
#include "supply/provenance.h"
#include "supply/spdx.h"

namespace nixery::supply {

Artifact make_artifact(const Document& document, const image::Descriptor& subject) {
  image::Annotations annotations = document.annotations;
  // The spec's own key, which tools sort by.
  annotations.emplace("org.opencontainers.image.created", created);
  ManifestJson manifest;
  manifest.artifact_type = document.media_type;
  manifest.config = {"application/vnd.oci.empty.v1+json", "{}", {}};
  manifest.layer = {document.media_type, document.bytes, {}};
  manifest.subject = &subject;
  manifest.annotations = annotations;
  const std::string bytes = to_json(manifest);
  return {std::string(document.media_type),
          {std::string(manifest.config.bytes), document.bytes},
          bytes,
          {image::MediaType::oci_manifest, image::Digest::of(bytes), bytes.size(), annotations, {}}};
}

std::vector<Artifact> document_artifacts(const Subject& subject, std::string_view builder_id) {
  return {make_artifact({spdx_media_type, spdx_document(subject), {}}, subject.manifest),
          make_artifact({cyclonedx_media_type, cyclonedx_document(subject), {}}, subject.manifest),
          make_artifact({provenance_media_type,
                         provenance_statement(subject, builder_id),
                         {{"in-toto.io/predicate-type", std::string(provenance_predicate_type)}}},
                        subject.manifest)};
}

}  // namespace nixery::supply
