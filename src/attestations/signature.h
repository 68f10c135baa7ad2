// A signature that `cosign verify --key` accepts (sigstore/cosign, specs/SIGNATURE_SPEC.md): the ECDSA signature of a
// simple-signing payload, which names the manifest's digest.
//
// It is published in both forms that cosign looks for:
//   tagged     an image manifest under the tag "sha256-<hex>.sig" of the image's repository
//   referrer   the same layer in an artifact manifest whose subject is the image (OCI 1.1)
// Signatures of equal key, reference and digest differ: one that is published is used again (`published`), so that
// workers and rebuilds do not pile up signatures of one image.
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
  Artifact tagged;  // no referrer: it has no subject
  Artifact referrer;
};

// `docker_reference` is the repository's name as clients write it, such as "registry.example.org/shell/curl", and ends
// up in the payload only. cosign compares the digest alone; podman's and CRI-O's policies compare this name too.
// `subject` may be an image's manifest or an index. `published` are manifests, of either form, that may hold a
// signature of the same key, reference and digest: the first valid one is used again, and equal bytes come out. Any
// bytes may be among them. Throws Error{unavailable} if OpenSSL fails.
Signature sign(const SigningKey& key, std::string_view docker_reference, const image::Descriptor& subject,
               const std::vector<std::string>& published = {});

std::string signature_tag(const image::Digest& subject);  // "sha256-<hex>.sig"

// What is signed, byte for byte.
std::string simple_signing_payload(std::string_view docker_reference, const image::Digest& digest);

}  // namespace nixery::attestations
