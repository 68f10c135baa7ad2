#include "http/registry.h"

#include <fmt/format.h>

#include "http/answers.h"
#include "http/compose_page.h"
#include "http/discovery.h"
#include "log.h"
#include "reference/reference.h"
#include "tree/referrers.h"

namespace nixery::http {

namespace {

image::Digest parse_digest(std::string_view text) {
  if (auto digest = image::Digest::parse(text)) return *std::move(digest);
  throw Error(Failure::bad_digest,
              "the digest is malformed: this registry knows 'sha256:' and 64 lower-case hex digits");
}

void log_failure(const Request& request, Failure failure, std::string_view why) {
  const auto level = failure == Failure::storage ? log::Level::error : log::Level::warning;
  log::write(level, "request failed", {{"path", request.path.substr(0, 300)}, {"error", std::string(why)}});
}

// A blob that cannot be made again is, to whoever asks for it, one that is not here.
Error lasting_as_unknown(const Error& error) {
  switch (error.failure()) {
    case Failure::build_failed:
    case Failure::unsupported_platform:
    case Failure::corrupt:
      return {Failure::unknown_blob, fmt::format("the blob cannot be made again: {}", error.what()), error.detail()};
    default: return error;
  }
}

// Where a build's log can be read while it goes on, for the end of a sentence; empty if nowhere.
std::string where_it_is_told(const Request& request) {
  const RouteMatch match = match_route(request.path);
  if (!request.has_web || match.route != Route::manifest) return {};
  return fmt::format("; its log is at {}://{}/api/events/{}:{}", request.scheme, shown_host(request), match.repository,
                     match.reference);
}

}  // namespace

HandlerResult Registry::answer(const Request& request) const {
  try {
    return route(request);
  } catch (const Error& error) {
    if (error.transient()) log_failure(request, error.failure(), error.what());
    return answer_error(error);
  } catch (const std::exception& error) {
    log_failure(request, Failure::unavailable, error.what());
    return answer_error(Error(Failure::unavailable, "the registry could not answer: try again later"));
  }
}

HandlerResult Registry::route(const Request& request) const {
  if (request.method != "GET" && request.method != "HEAD")
    throw Error(Failure::unsupported_method, "this registry is for pulling only: images are built from their names");
  const RouteMatch match = match_route(request.path);
  switch (match.route) {
    case Route::base: return answer_json("{}");
    case Route::api:
    case Route::events: return api_.answer(request);
    case Route::page: return compose_page(request);
    case Route::manifest: return manifest(request, match.repository, match.reference);
    case Route::catalog: return list_all(request);
    case Route::tags: return tags_list(tree_, match.repository, request.query);
    case Route::referrers:
      reference::check_repository(match.repository);
      return referrers(tree_, match.reference, request.query);
    case Route::blob: reference::check_repository(match.repository); return blob(request, match.reference);
    case Route::metrics:
      if (status_) return status_->metrics();
      break;
    case Route::health:
      if (status_) return status_->health();
      break;
    case Route::ready:
      if (status_) return status_->ready();
      break;
    case Route::none: break;
  }
  throw Error(Failure::unknown_route, "there is nothing at this address: images are at /v2/<name>/manifests/<tag>");
}

HandlerResult Registry::manifest(const Request& request, std::string_view repository,
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
      if (auto list = tree::referrers_of(tree_.layout(), *subject); !list.empty()) {
        const std::string bytes = tree::referrers_index(std::move(list));
        return answer_manifest({image::Digest::of(bytes), image::MediaType::oci_index, bytes});
      }
    throw Error(Failure::unknown_tag, fmt::format("nothing is attached to this image as '{}'", reference));
  }
  const auto wanted = builder_.find(repository, reference);
  // Between two workers, or without nginx, it may be there already.
  if (const auto digest = tree_.digest_of_tag(wanted.repository, wanted.tag); digest && builder_.tag_matches(wanted))
    if (const auto stored = tree_.manifest(*digest)) {
      builder_.metrics().tags.there.add();
      return answer_manifest(*stored);
    }

  return wait_for(request, builder_.start(wanted, request.client),
                  [this, wanted](const pipeline::BuildQueue::Result& result) {
                    if (result.error) return answer_error(*result.error, wanted.declaration_hash());
                    const auto stored = tree_.manifest(result.value->digest);
                    if (!stored)
                      throw Error(Failure::unavailable, "the image was removed while it was asked for: try again");
                    return answer_manifest(*stored);
                  });
}

HandlerResult Registry::blob(const Request& request, std::string_view text) const {
  const auto digest = parse_digest(text);
  if (tree_.has_blob(digest) || tree_.restore_blob(digest))
    if (auto file = FileBody::open(tree_.layout().blob(digest))) {  // a collection may have been quicker
      builder_.metrics().blobs.there.add();
      return answer_blob(digest, *std::move(file));
    }
  if (!builder_.can_rebuild(digest))
    throw Error(Failure::unknown_blob, fmt::format("no blob {} here, and nothing to rebuild it from", digest.str()));
  // Once it is there, the web server sends it better than we could.
  return wait_for(request, builder_.start_rebuilding(digest, request.client),
                  [request](const pipeline::BuildQueue::Result& result) {
                    if (result.error) return answer_error(lasting_as_unknown(*result.error));
                    return answer_redirect(request, hop_of(request) + 1);
                  });
}

HandlerResult Registry::list_all(const Request& request) const {
  if (!settings_.catalog)
    throw Error(Failure::switched_off, "this registry does not list what it has: pull any image by its name");
  const auto repositories = repositories_.get();
  if (!repositories.job) return catalog(repositories.value.get(), request.query);
  const auto answer = [this, query = request.query] { return catalog(repositories_.last().get(), query); };
  return Waiting{request,
                 repositories.job,
                 std::chrono::steady_clock::now() + settings_.hop,
                 [job = repositories.job, answer] {
                   if (const auto error = job->error()) throw Error(*error);
                   return answer();
                 },
                 {},
                 answer};
}

Waiting Registry::wait_for(const Request& request, const std::shared_ptr<pipeline::BuildJob>& job,
                           std::function<Response(const pipeline::BuildQueue::Result&)> when_finished) const {
  return {request, job, std::chrono::steady_clock::now() + settings_.hop,
          [job, finished = std::move(when_finished)] { return finished(*job->result()); },
          [job] { return job->state().snapshot().text(); }};
}

Response Registry::resume(const Waiting& waiting) const {
  try {
    if (waiting.job->finished()) return waiting.when_finished();
    if (waiting.when_late) return waiting.when_late();
    const unsigned hop = hop_of(waiting.request);
    if (hop < settings_.hops) return answer_redirect(waiting.request, hop + 1);
    return answer_error(
        Error(Failure::still_building,
              fmt::format("the image is still being built ({}): pull it again in a while, the build goes on{}",
                          waiting.progress(), where_it_is_told(waiting.request))));
  } catch (const Error& error) {
    return answer_error(error);
  } catch (const std::exception& error) {
    log_failure(waiting.request, Failure::unavailable, error.what());
    return answer_error(Error(Failure::unavailable, "the registry could not answer: try again later"));
  }
}

}  // namespace nixery::http
