// An artifact attached to an image: an OCI image manifest for one document (image-spec v1.1, manifest.md, "Guidelines
// for Artifact Usage", and `subject`).
//
// Publish an artifact's blobs, then its manifest, then its descriptor in the subject's list of referrers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "attestations/subject.h"
#include "image/manifest.h"

namespace nixery::attestations {

struct Document {
  std::string_view media_type;  // also the artifactType
  std::string bytes;
  image::Annotations annotations;  // of the manifest, hence of its descriptor
};

struct Artifact {
  std::vector<std::string> blobs;  // the document and the empty config
  std::string manifest;
  image::Descriptor descriptor;  // of the manifest, with its artifactType and its annotations
};

Artifact artifact_of(const image::ArtifactManifest& manifest);

// `subject` describes an image's manifest or an index; its type, digest and size are used.
Artifact make_artifact(const Document& document, const image::Descriptor& subject);

// SPDX, CycloneDX and provenance.
std::vector<Artifact> document_artifacts(const Subject& subject, std::string_view builder_id);

}  // namespace nixery::attestations
