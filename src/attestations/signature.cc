#include "attestations/signature.h"

#include <fmt/format.h>

#include "error.h"
#include "image/parse.h"
#include "json/json.h"
#include "text/encoding.h"

namespace nixery::attestations {

namespace {

using json::member;

// A minimal image config, because clients of the tag form read the artifact as an image.
std::string config_of(const image::Digest& payload) {
  image::Config config;
  config.created = created;
  config.layers = {{payload, "signature"}};
  return image::to_json(config);
}

// The exact bytes that are signed.
std::string simple_signing_payload(std::string_view docker_reference, const image::Digest& digest) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "critical");
  writer.StartObject();
  json::key(writer, "identity");
  writer.StartObject();
  member(writer, "docker-reference", docker_reference);
  writer.EndObject();
  json::key(writer, "image");
  writer.StartObject();
  member(writer, "docker-manifest-digest", digest.str());
  writer.EndObject();
  member(writer, "type", "cosign container image signature");
  writer.EndObject();
  json::key(writer, "optional");
  writer.Null();
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

// The signature of `payload` in the manifest, if it was made with this key.
std::optional<std::string> signature_in(const std::string& manifest, const SigningKey& key,
                                        const std::string& payload) {
  const image::Digest digest = image::Digest::of(payload);
  try {
    for (const image::ParsedDescriptor& layer : image::parse_manifest(manifest, image::Digest::of(manifest)).layers) {
      const auto annotation = layer.annotations.find(std::string(signature_annotation));
      if (layer.digest != digest || annotation == layer.annotations.end()) continue;
      auto signature = text::base64_decode(annotation->second);
      if (signature && key.verify(payload, *signature)) return signature;
    }
  } catch (const Error&) {  // no manifest
  }
  return std::nullopt;
}

}  // namespace

std::string signature_tag(const image::Digest& subject) {
  return fmt::format("sha256-{}.sig", subject.hex());
}

Signature sign(const SigningKey& key, std::string_view docker_reference, const image::Descriptor& subject,
               const std::vector<std::string>& published) {
  const std::string payload = simple_signing_payload(docker_reference, subject.digest);
  std::optional<std::string> signature;
  for (auto manifest = published.begin(); !signature && manifest != published.end(); ++manifest)
    signature = signature_in(*manifest, key, payload);
  if (!signature) signature = key.sign(payload);
  const image::DescribedBlob layer{
      simple_signing_media_type, payload, {{std::string(signature_annotation), text::base64(*signature)}}};
  const std::string config = config_of(image::Digest::of(payload));

  image::ArtifactManifest tagged;
  tagged.config = {image::name_of(image::MediaType::oci_config), config, {}};
  tagged.layer = layer;

  image::ArtifactManifest referrer;
  referrer.artifact_type = signature_artifact_type;
  referrer.config = {image::empty_media_type, image::empty_config, {}};
  referrer.layer = layer;
  referrer.subject = &subject;
  referrer.annotations = {{"org.opencontainers.image.created", std::string(created)}};

  return {artifact_of(tagged), artifact_of(referrer)};
}

}  // namespace nixery::attestations
