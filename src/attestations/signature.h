// A signature for `cosign verify --key` (sigstore/cosign, specs/SIGNATURE_SPEC.md): the ECDSA signature of a
// simple-signing payload with the manifest's digest.
//
// It is published in both forms that cosign looks for:
//   tagged     an image manifest under the tag "sha256-<hex>.sig" of the image's repository
//   referrer   the same layer in an artifact manifest whose subject is the image (OCI 1.1)
// ECDSA signatures of the same input differ. A published one is therefore reused (`published`), so that workers and
// rebuilds do not add more signatures of the same image.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "attestations/artifact.h"
#include "attestations/signing_key.h"
#include "image/manifest.h"

namespace nixery::attestations {

inline constexpr std::string_view signature_artifact_type = "application/vnd.dev.cosign.artifact.sig.v1+json";
inline constexpr std::string_view simple_signing_media_type = "application/vnd.dev.cosign.simplesigning.v1+json";
inline constexpr std::string_view signature_annotation = "dev.cosignproject.cosign/signature";

struct Signature {
  Artifact tagged;  // not a referrer: it has no subject
  Artifact referrer;
};

// `docker_reference` is the repository's name as clients write it, such as "registry.example.org/shell/curl"; only the
// payload contains it. cosign compares the digest alone; podman's and CRI-O's policies compare this name too. `subject`
// may be an image's manifest or an index. `published` are existing manifests of either form. The first valid signature
// of the same key, reference and digest in them is reused, which gives equal bytes. They may hold arbitrary bytes.
// Throws Error{unavailable} if OpenSSL fails.
Signature sign(const SigningKey& key, std::string_view docker_reference, const image::Descriptor& subject,
               const std::vector<std::string>& published = {});

std::string signature_tag(const image::Digest& subject);  // "sha256-<hex>.sig"

}  // namespace nixery::attestations
