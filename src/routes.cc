#include "routes.h"

#include <algorithm>
#include <optional>

#include "error.h"
#include "http/answers.h"
#include "text/lines.h"
#include "web/compose_page.h"

namespace nixery {

namespace {

using http::HandlerResult;
using http::Request;

[[noreturn]] void refuse_address() {
  throw Error(Failure::unknown_route, "unknown path: images are at /v2/<name>/manifests/<tag>");
}

health::Status& status_of(const Handlers& handlers) {
  if (!handlers.status) refuse_address();
  return *handlers.status;
}

HandlerResult base(const Handlers&, const Request&, const RouteMatch&) {
  return http::answer_json("{}");
}
HandlerResult manifest(const Handlers& handlers, const Request& request, const RouteMatch& match) {
  return handlers.registry->manifest(request, match.repository, match.reference);
}
HandlerResult blob(const Handlers& handlers, const Request& request, const RouteMatch& match) {
  return handlers.registry->blob(request, match.repository, match.reference);
}
HandlerResult catalog(const Handlers& handlers, const Request& request, const RouteMatch&) {
  return handlers.registry->catalog(request);
}
HandlerResult tags(const Handlers& handlers, const Request& request, const RouteMatch& match) {
  return handlers.registry->tags(request, match.repository);
}
HandlerResult referrers(const Handlers& handlers, const Request& request, const RouteMatch& match) {
  return handlers.registry->referrers(request, match.repository, match.reference);
}
HandlerResult search(const Handlers& handlers, const Request& request, const RouteMatch&) {
  return handlers.web->search(request);
}
HandlerResult plan(const Handlers& handlers, const Request& request, const RouteMatch& match) {
  return handlers.web->plan(request, match.rest);
}
HandlerResult images(const Handlers& handlers, const Request& request, const RouteMatch&) {
  return handlers.web->images(request);
}
HandlerResult image(const Handlers& handlers, const Request&, const RouteMatch& match) {
  return handlers.web->image(match.rest);
}
HandlerResult failures(const Handlers& handlers, const Request&, const RouteMatch&) {
  return handlers.web->failures();
}
HandlerResult build(const Handlers& handlers, const Request&, const RouteMatch& match) {
  return handlers.web->build(match.rest);
}
HandlerResult events(const Handlers& handlers, const Request&, const RouteMatch& match) {
  return handlers.web->events(match.rest);
}
HandlerResult no_api(const Handlers&, const Request&, const RouteMatch&) {
  throw Error(Failure::unknown_route, "unknown path under /api/");
}
HandlerResult page(const Handlers&, const Request& request, const RouteMatch&) {
  return web::compose_page(request);
}
HandlerResult metrics(const Handlers& handlers, const Request&, const RouteMatch&) {
  return status_of(handlers).metrics();
}
HandlerResult health(const Handlers& handlers, const Request&, const RouteMatch&) {
  return status_of(handlers).health();
}
HandlerResult ready(const Handlers& handlers, const Request&, const RouteMatch&) {
  return status_of(handlers).ready();
}
HandlerResult nothing(const Handlers&, const Request&, const RouteMatch&) {
  refuse_address();
}

constexpr std::string_view read = "GET, HEAD";

constexpr Route table[] = {
    {"base", read, "/v2", base},
    {"base", read, "/v2/", base},
    {"manifest", read, "/v2/<repository>/manifests/<reference>", manifest},
    {"blob", read, "/v2/<repository>/blobs/<reference>", blob},
    {"tags", read, "/v2/<repository>/tags/list", tags},
    {"catalog", read, "/v2/_catalog", catalog},
    {"referrers", read, "/v2/<repository>/referrers/<reference>", referrers},
    {"api", read, "/api/search", search},
    {"api", read, "/api/plan/<rest>", plan},
    {"api", read, "/api/images", images},
    {"api", read, "/api/image/<rest>", image},
    {"api", read, "/api/failures", failures},
    {"api", read, "/api/build/<rest>", build},
    {"events", read, "/api/events/<rest>", events},
    {"api", read, "/api/<rest>", no_api},
    {"page", read, "/web/compose", page},
    {"metrics", read, "/metrics", metrics},
    {"health", read, "/healthz", health},
    {"ready", read, "/readyz", ready},
    {"none", read, "<rest>", nothing},
};

constexpr std::string_view repository_mark = "<repository>", reference_mark = "<reference>", rest_mark = "<rest>";

std::optional<RouteMatch> match_pattern(const Route& route, std::string_view path) {
  std::string_view pattern = route.pattern;
  RouteMatch match{&route, {}, {}, {}};
  const auto mark = std::min(pattern.find('<'), pattern.size());
  if (!path.starts_with(pattern.substr(0, mark))) return std::nullopt;
  pattern.remove_prefix(mark);
  path.remove_prefix(mark);
  if (pattern == rest_mark) {
    match.rest = path;
    return match;
  }
  if (!pattern.starts_with(repository_mark)) return path.empty() ? std::optional(match) : std::nullopt;
  pattern.remove_prefix(repository_mark.size());
  const auto begin = path.rfind('/') + 1;
  match.reference = path.substr(begin);
  if (pattern.ends_with(reference_mark)) {
    pattern.remove_suffix(reference_mark.size());
    path = path.substr(0, begin);
  }
  if (!path.ends_with(pattern)) return std::nullopt;
  match.repository = path.substr(0, path.size() - pattern.size());
  return match;
}

bool allows(const Route& route, std::string_view method) {
  for (std::string_view allowed : text::split(route.methods, ',')) {
    if (allowed.starts_with(' ')) allowed.remove_prefix(1);
    if (allowed == method) return true;
  }
  return false;
}

}  // namespace

std::span<const Route> routes() {
  return table;
}

RouteMatch match_route(std::string_view path) {
  for (const Route& route : table)
    if (const auto match = match_pattern(route, path)) return *match;
  return {&std::end(table)[-1], {}, {}, path};
}

std::vector<std::string_view> route_labels() {
  std::vector<std::string_view> labels;
  for (const Route& route : table)
    if (std::ranges::find(labels, route.label) == labels.end()) labels.push_back(route.label);
  return labels;
}

http::RequestLabels Router::labels_of(const http::Request& request) const {
  static const std::vector<std::string_view> labels = route_labels();
  const RouteMatch match = match_route(request.path);
  const auto label = std::ranges::find(labels, match.route->label);
  return {static_cast<std::size_t>(label - labels.begin()), match.repository, match.reference};
}

http::HandlerResult Router::answer(const http::Request& request) const {
  try {
    const RouteMatch match = match_route(request.path);
    if (allows(*match.route, request.method)) return match.route->handle(handlers_, request, match);
    auto response = http::answer_error(
        Error(Failure::unsupported_method, "this registry is pull-only: images are built from their names"));
    response.header("Allow", std::string(match.route->methods));
    return response;
  } catch (const Error& error) {
    if (error.transient()) http::log_failure(request, error);
    return http::answer_error(error);
  } catch (const std::exception& error) {
    return http::answer_unexpected(request, error);
  }
}

}  // namespace nixery
