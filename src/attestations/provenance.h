// Provenance of an image: an in-toto statement (in-toto attestation framework, spec/v1/statement.md) whose predicate is
// SLSA provenance v1 (slsa.dev/spec/v1.0/provenance). It is not signed itself: the registry signs the image, and this
// document is attached to the image's digest.
//
//   externalParameters    what the client chose: reference, packages, platform
//   resolvedDependencies  the package set's revision, and the derivation of each package
//   runDetails.builder    who built it: the setting NIXERY_BUILDER_ID
//
// It contains no times, so a rebuild gives the same document.
#pragma once

#include <string>
#include <string_view>

#include "attestations/subject.h"

namespace nixery::attestations {

inline constexpr std::string_view provenance_media_type = "application/vnd.in-toto+json";
inline constexpr std::string_view provenance_predicate_type = "https://slsa.dev/provenance/v1";
// Identifies the meaning of externalParameters above. A URN, because there is no common web page for all deployments.
inline constexpr std::string_view provenance_build_type = "urn:nixery:build:1";
// The id of a builder without a configured name. Verifiers accept builders by id, so this one proves nothing.
inline constexpr std::string_view unnamed_builder = "urn:nixery:builder:unnamed";

// `builder_id`: a URI; empty for unnamed_builder.
std::string provenance_statement(const Subject& subject, std::string_view builder_id);

}  // namespace nixery::attestations
