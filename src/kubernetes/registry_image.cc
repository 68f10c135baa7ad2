#include "kubernetes/registry_image.h"

#include <fmt/format.h>

#include "image/digest.h"
#include "image/parse.h"
#include "json/json.h"
#include "reference/declared.h"
#include "text/ascii.h"
#include "text/plain_text.h"

namespace nixery::kubernetes {

PullResult make_result(PullResult::State state, const std::string& reason, const std::string& message) {
  PullResult pull;
  pull.state = state;
  pull.reason = reason;
  pull.message = text::plain_text(message);
  return pull;
}

namespace {

using State = PullResult::State;

constexpr std::chrono::seconds longest_hop{120};  // more than NIXERY_HOP_SECONDS
constexpr const char* manifest_types =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

// "unknown_package" -> "UnknownPackage": only letters and digits, as conditions require.
std::string reason_of(std::string_view failure) {
  std::string reason;
  bool begins = true;
  for (const char c : failure.substr(0, 100)) {
    if (text::is_letter(c) || (text::is_digit(c) && !reason.empty())) reason += begins ? text::upper(c) : c;
    begins = !text::is_letter(c);
  }
  return reason;
}

// The distribution-spec's error body, with Nixery's detail.
struct ErrorBody {
  std::string message, reason, declaration;
};

ErrorBody read_error(const std::string& body) {
  ErrorBody parsed;
  try {
    const json::Document document = json::parse(body, "the registry's answer");
    const json::Value* errors = json::find(document, "errors");
    if (!errors || !errors->IsArray() || errors->Empty()) return parsed;
    const json::Value& error = (*errors)[0];
    parsed.message = json::string_or(error, "message", "");
    if (const json::Value* detail = json::find(error, "detail")) {
      parsed.reason = reason_of(json::string_or(*detail, "failure", ""));
      parsed.declaration = json::string_or(*detail, "declaration", "");
    }
  } catch (const Error&) {
  }
  return parsed;
}

PullResult unavailable(const std::string& message) {
  return make_result(State::unavailable, "RegistryUnavailable", message);
}

PullResult not_taken() {
  return make_result(State::not_taken, "Building", "the registry has not loaded this declaration yet");
}

// Follows the registry's responses from the tag to the image.
class Pulling {
 public:
  Pulling(const Wanted& wanted, const std::stop_token& stop) : wanted_(wanted), stop_(stop) {}

  PullResult pull(const std::optional<PullResult>& known) const {
    const http_client::Response response = ask("manifests", wanted_.tag);
    if (response.status != 200) return meaning_of(response, wanted_.declaration);
    const std::string header = response.header("Docker-Content-Digest");
    auto digest = image::Digest::parse(header);
    if (!digest) return unavailable("the registry's response has no Docker-Content-Digest");
    if (known && known->state == State::built && known->digest == header) return *known;

    auto manifest = image::parse_manifest(response.body, *digest);
    if (!manifest.members.empty()) {
      digest = manifest.members.front().digest;
      const http_client::Response of_platform = ask("manifests", digest->str());
      if (of_platform.status != 200) return passing(of_platform);
      manifest = image::parse_manifest(of_platform.body, *digest);
    }
    if (!manifest.config) return unavailable(fmt::format("the manifest {} is no image's", digest->str()));
    const http_client::Response of_config = ask("blobs", manifest.config->digest.str());
    if (of_config.status != 200) return passing(of_config);
    const auto labels = image::parse_config(of_config.body, manifest.config->digest).labels;
    const auto declaration = labels.find(reference::declaration_label);
    if ((declaration == labels.end() ? "" : declaration->second) != wanted_.declaration) return not_taken();

    PullResult pull = make_result(State::built, "Built", "");
    pull.digest = header;
    pull.size = manifest.config->size;
    pull.layers = manifest.layers.size();
    for (const image::ParsedDescriptor& layer : manifest.layers) pull.size += layer.size;
    return pull;
  }

 private:
  http_client::Response ask(std::string_view kind, const std::string& reference) const {
    return get(fmt::format("{}/v2/{}/{}/{}", wanted_.registry, wanted_.name, kind, reference),
               std::string(manifest_types) + ", */*", longest_hop, stop_);
  }

  // A manifest of an existing tag may be missing briefly, because it is collected or built again.
  static PullResult passing(const http_client::Response& response) {
    PullResult pull = make_result(State::building, "Building", "the image is being built again");
    pull.retry_after = std::chrono::seconds(2);
    if (response.status >= 500 || response.status == 401 || response.status == 403) {
      pull = unavailable(fmt::format("the registry responds with HTTP status {}", response.status));
      pull.retry_after = response.retry_after();
    }
    return pull;
  }

  const Wanted& wanted_;
  const std::stop_token stop_;
};

}  // namespace

PullResult meaning_of(const http_client::Response& response, const std::string& declaration) {
  const ErrorBody error = read_error(response.body);
  const auto with_retry = [&](PullResult pull) {
    pull.retry_after = response.retry_after();
    return pull;
  };
  const std::string status = fmt::format("the registry responds with HTTP status {}", response.status);
  const std::string& message = error.message.empty() ? status : error.message;
  const std::string location = response.header("Location");
  switch (response.status) {
    case 307:  // a long-poll redirect: the build is still running
      if (location.find("nixery-hop=") != std::string::npos)
        return make_result(State::building, "Building", "the image is being built");
      return unavailable(
          fmt::format("the registry redirects to {}: set NIXERY_CONTROLLER_REGISTRY to that address", location));
    case 429:
      if (error.reason == "StillBuilding") return with_retry(make_result(State::building, "Building", message));
      // The queue is full, or nginx limits this client: nothing is being built.
      return with_retry(
          make_result(State::unavailable, error.reason.empty() ? "TooManyRequests" : error.reason, message));
    case 400:
    case 403:
    case 404:
    case 422:
    case 424: break;
    default: return with_retry(unavailable(message));
  }
  if (error.reason.empty()) return with_retry(unavailable(message));  // from a proxy in between
  if (error.declaration != declaration) return not_taken();
  return make_result(response.status == 424 ? State::failed : State::refused, error.reason, message);
}

PullResult pull_image(const Wanted& wanted, const std::optional<PullResult>& known, const std::stop_token& stop) {
  try {
    return Pulling(wanted, stop).pull(known);
  } catch (const Error& error) {
    return unavailable(error.what());
  }
}

}  // namespace nixery::kubernetes
