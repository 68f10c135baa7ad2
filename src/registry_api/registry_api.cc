#include "registry_api/registry_api.h"

#include <fmt/format.h>

#include "http/answers.h"
#include "reference/reference.h"
#include "registry_api/discovery.h"
#include "tree/listing.h"
#include "tree/referrers.h"

namespace nixery::registry_api {

namespace {

using Clock = std::chrono::steady_clock;

image::Digest parse_digest(std::string_view text) {
  if (auto digest = image::Digest::parse(text)) return *std::move(digest);
  throw Error(Failure::bad_digest,
              "the digest is malformed: this registry supports 'sha256:' and 64 lower-case hex digits");
}

// To clients, a blob that cannot be rebuilt is unknown.
Error lasting_as_unknown(const Error& error) {
  switch (error.failure()) {
    case Failure::build_failed:
    case Failure::not_cached:
    case Failure::unsupported_platform:
    case Failure::corrupt:
      return {Failure::unknown_blob, fmt::format("the blob cannot be rebuilt: {}", error.what()), error.detail()};
    default: return error;
  }
}

// The URL of a running build's log, as the end of a sentence; empty without the web page.
std::string log_address(const http::Request& request, std::string_view repository, std::string_view tag) {
  if (!request.has_web) return {};
  return fmt::format("; its log is at {}://{}/api/events/{}:{}", request.scheme, http::shown_host(request), repository,
                     tag);
}

http::Response answer_manifest(const tree::StoredManifest& manifest) {
  auto response = http::response_of_type(200, image::name_of(manifest.type));
  response.header("Docker-Content-Digest", manifest.digest.str())
      .header("ETag", fmt::format("\"{}\"", manifest.digest.str()))
      .header("Cache-Control", "no-cache");
  response.body = manifest.bytes;
  return response;
}

http::Response answer_blob(const image::Digest& digest, http::FileBody file) {
  auto response = http::response_of_type(200, "application/octet-stream");
  response.header("Docker-Content-Digest", digest.str())
      .header("ETag", fmt::format("\"{}\"", digest.str()))
      .header("Cache-Control", "public, max-age=31536000, immutable");
  response.file = std::move(file);
  return response;
}

}  // namespace

RegistryApi::RegistryApi(pipeline::Builder& builder, const tree::Tree& tree, RegistrySettings settings)
    : builder_(builder),
      tree_(tree),
      settings_(settings),
      repositories_([this] { return tree::repositories(tree_.store()); },
                    [this] { return builder_.metrics().images_changed(); }) {}

http::HandlerResult RegistryApi::manifest(const http::Request& request, std::string_view repository,
                                          std::string_view reference) const {
  if (reference.find(':') != reference.npos) {
    reference::check_repository(repository);
    const auto digest = parse_digest(reference);
    if (const auto stored = tree_.manifest(digest)) return answer_manifest(*stored);
    throw Error(Failure::unknown_manifest,
                fmt::format("no manifest {} here: pull the image by its tag to build it", digest.str()));
  }
  if (reference::is_digest_tag(reference)) {
    reference::check_repository(repository);
    if (const auto digest = tree_.digest_of_tag(repository, reference))
      if (const auto stored = tree_.manifest(*digest)) return answer_manifest(*stored);
    if (const auto subject = tree::subject_of_fallback_tag(reference))
      if (auto list = tree::referrers_of(tree_.store(), *subject); !list.empty()) {
        const std::string bytes = tree::referrers_index(std::move(list));
        return answer_manifest({image::Digest::of(bytes), image::MediaType::oci_index, bytes});
      }
    throw Error(Failure::unknown_tag, fmt::format("nothing is attached to this image as '{}'", reference));
  }
  const auto wanted = builder_.find(repository, reference);
  // With several workers, or without nginx, it may exist already.
  if (const auto digest = tree_.digest_of_tag(wanted.repository, wanted.tag); digest && builder_.tag_matches(wanted))
    if (const auto stored = tree_.manifest(*digest)) {
      builder_.metrics().tags.there.add();
      return answer_manifest(*stored);
    }

  return wait_for(
      request, builder_.start(wanted, request.client),
      [this, wanted](const pipeline::BuildQueue::Result& result) {
        if (result.error) return http::answer_error(*result.error, wanted.declaration_hash());
        const auto stored = tree_.manifest(result.value->digest);
        if (!stored) throw Error(Failure::unavailable, "the image was removed during the request: try again");
        return answer_manifest(*stored);
      },
      log_address(request, repository, reference));
}

http::HandlerResult RegistryApi::blob(const http::Request& request, std::string_view repository,
                                      std::string_view text) const {
  reference::check_repository(repository);
  const auto digest = parse_digest(text);
  if (tree_.has_blob(digest) || tree_.restore_blob(digest))
    if (os::Fd file =
            tree_.store().open(tree::ObjectName::blob(digest))) {  // a collection may have removed it meanwhile
      builder_.metrics().blobs.there.add();
      const std::uint64_t size = os::size_of(file, digest.str());
      return answer_blob(digest, {std::move(file), size});
    }
  if (!builder_.can_rebuild(digest))
    throw Error(Failure::unknown_blob, fmt::format("no blob {} here, and nothing to rebuild it from", digest.str()));
  // When it exists, the web server serves it more efficiently.
  return wait_for(request, builder_.start_rebuilding(digest, request.client),
                  [request](const pipeline::BuildQueue::Result& result) {
                    if (result.error) return http::answer_error(lasting_as_unknown(*result.error));
                    return http::answer_redirect(request, http::hop_of(request) + 1);
                  });
}

http::HandlerResult RegistryApi::catalog(const http::Request& request) const {
  if (!settings_.catalog)
    throw Error(Failure::switched_off, "this registry does not list what it has: pull any image by its name");
  const auto repositories = repositories_.get();
  if (!repositories.job) return catalog_page(repositories.value.get(), request.query);
  const auto answer = [this, query = request.query] { return catalog_page(repositories_.last().get(), query); };
  return http::Waiting{request, repositories.job, Clock::now() + settings_.hop,
                       [job = repositories.job, answer] {
                         if (const auto error = job->error()) throw Error(*error);
                         return answer();
                       },
                       answer};
}

http::Response RegistryApi::tags(const http::Request& request, std::string_view repository) const {
  return tags_page(tree_, repository, request.query);
}

http::Response RegistryApi::referrers(const http::Request& request, std::string_view repository,
                                      std::string_view digest) const {
  reference::check_repository(repository);
  return referrers_list(tree_, digest, request.query);
}

http::Waiting RegistryApi::wait_for(const http::Request& request, const std::shared_ptr<pipeline::BuildJob>& job,
                                    std::function<http::Response(const pipeline::BuildQueue::Result&)> when_finished,
                                    const std::string& log_address) const {
  const auto redirect = [request, job, hops = settings_.hops, log_address] {
    const unsigned hop = http::hop_of(request);
    if (hop < hops) return http::answer_redirect(request, hop + 1);
    throw Error(Failure::still_building,
                fmt::format("the image is still being built ({}): pull it again in a while, the build continues{}",
                            job->state().snapshot().text(), log_address));
  };
  return {request, job, Clock::now() + settings_.hop,
          [job, finished = std::move(when_finished)] { return finished(*job->result()); }, redirect};
}

}  // namespace nixery::registry_api
