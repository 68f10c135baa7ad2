#include "kubernetes/registry_image.h"

#include <fmt/format.h>

#include "json/json.h"

namespace nixery::kubernetes {

namespace {

constexpr long most_redirects = 10;  // as clients do
constexpr std::chrono::seconds longest_pull{3600};
constexpr const char* manifest_types =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

// "unknown_package" -> "UnknownPackage"
std::string reason_of(std::string_view failure) {
  std::string reason;
  bool begins = true;
  for (const char c : failure) {
    if (c == '_') {
      begins = true;
    } else {
      reason += begins && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      begins = false;
    }
  }
  return reason;
}

// Of the distribution-spec's error body, with our detail.
void read_error(const std::string& body, Pull& pull) {
  try {
    const json::Document document = json::parse(body, "the registry's answer");
    const json::Value* errors = json::find(document, "errors");
    if (!errors || !errors->IsArray() || errors->Empty()) return;
    const json::Value& error = (*errors)[0];
    pull.message = json::string_or(error, "message", "");
    if (const json::Value* detail = json::find(error, "detail"))
      pull.reason = reason_of(json::string_or(*detail, "failure", ""));
  } catch (const Error&) {
  }
}

std::uint64_t size_at(const json::Value& descriptor) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, json::integer_at(descriptor, "size").value_or(0)));
}

void read_manifest(const json::Value& manifest, Pull& pull) {
  if (const json::Value* config = json::find(manifest, "config")) pull.size += size_at(*config);
  const json::Value* layers = json::find(manifest, "layers");
  if (!layers || !layers->IsArray()) return;
  pull.layers = layers->Size();
  for (const json::Value& layer : layers->GetArray()) pull.size += size_at(layer);
}

// The first manifest of an index; empty where it is none.
std::string first_of_index(const json::Value& manifest) {
  const json::Value* manifests = json::find(manifest, "manifests");
  if (!manifests || !manifests->IsArray() || manifests->Empty()) return {};
  return json::string_or((*manifests)[0], "digest", "");
}

}  // namespace

Pull meaning_of(const Response& response) {
  using Outcome = Pull::Outcome;
  Pull pull;
  pull.retry_after = response.retry_after;
  if (response.status == 200) {
    pull.digest = response.digest;
    if (pull.digest.empty()) {
      pull.outcome = Outcome::unavailable;
      pull.reason = "RegistryUnavailable";
      pull.message = "the registry's answer has no Docker-Content-Digest";
      return pull;
    }
    read_manifest(json::parse(response.body, "the manifest"), pull);
    pull.outcome = Outcome::built;
    pull.reason = "Built";
    return pull;
  }
  read_error(response.body, pull);
  if (response.status == 429) {
    pull.outcome = Outcome::building;
    pull.reason = "Building";
  } else if (response.status == 424) {
    pull.outcome = Outcome::failed;
    if (pull.reason.empty()) pull.reason = "BuildFailed";
  } else if (response.status == 400 || response.status == 403 || response.status == 404 || response.status == 422) {
    pull.outcome = Outcome::refused;
    if (pull.reason.empty()) pull.reason = "NotFound";
  } else {
    pull.outcome = Outcome::unavailable;
    if (pull.reason.empty()) pull.reason = "RegistryUnavailable";
  }
  if (pull.message.empty()) pull.message = fmt::format("the registry answers with HTTP status {}", response.status);
  return pull;
}

Pull pull_image(const std::string& registry, const std::string& name, const std::string& tag,
                const std::atomic<bool>& stop) {
  const auto manifest = [&](const std::string& reference) {
    return get(fmt::format("{}/v2/{}/manifests/{}", registry, name, reference), manifest_types, most_redirects,
               longest_pull, stop);
  };
  try {
    const Response response = manifest(tag);
    Pull pull = meaning_of(response);
    if (pull.outcome != Pull::Outcome::built) return pull;
    const std::string first = first_of_index(json::parse(response.body, "the manifest"));
    if (first.empty()) return pull;
    const Response of_platform = manifest(first);
    if (of_platform.status != 200) return meaning_of(of_platform);
    read_manifest(json::parse(of_platform.body, "the manifest"), pull);
    return pull;
  } catch (const Error& error) {
    Pull pull;
    pull.outcome = Pull::Outcome::unavailable;
    pull.reason = "RegistryUnavailable";
    pull.message = error.what();
    return pull;
  }
}

}  // namespace nixery::kubernetes
