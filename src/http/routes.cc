#include "http/routes.h"

#include <optional>

#include "http/api.h"

namespace nixery::http {

namespace {

// "/v2/<name>/<verb>/<last>" -> its parts; `verb` stands before the last component.
std::optional<RouteMatch> split(std::string_view path, std::string_view verb, Route route) {
  constexpr std::string_view root = "/v2/";
  if (!path.starts_with(root)) return std::nullopt;
  path.remove_prefix(root.size());
  const auto last = path.rfind('/');
  if (last == path.npos) return std::nullopt;
  const std::string_view head = path.substr(0, last);
  if (!head.ends_with(verb) || head.size() <= verb.size() || head[head.size() - verb.size() - 1] != '/')
    return std::nullopt;
  return RouteMatch{route, head.substr(0, head.size() - verb.size() - 1), path.substr(last + 1)};
}

}  // namespace

RouteMatch match_route(std::string_view path) {
  if (path == "/v2" || path == "/v2/") return {Route::base, {}, {}};
  if (Api::owns(path)) return {path.starts_with("/api/events/") ? Route::events : Route::api, {}, {}};
  if (path == "/web/compose") return {Route::page, {}, {}};
  if (path == "/metrics") return {Route::metrics, {}, {}};
  if (path == "/healthz") return {Route::health, {}, {}};
  if (path == "/readyz") return {Route::ready, {}, {}};
  if (const auto match = split(path, "manifests", Route::manifest)) return *match;
  if (path == "/v2/_catalog") return {Route::catalog, {}, {}};
  if (const auto match = split(path, "tags", Route::tags); match && match->reference == "list") return *match;
  if (const auto match = split(path, "referrers", Route::referrers)) return *match;
  if (const auto match = split(path, "blobs", Route::blob)) return *match;
  return {};
}

}  // namespace nixery::http
