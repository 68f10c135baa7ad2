#include "http/place.h"

#include <optional>

#include "http/api.h"

namespace nixery::http {

namespace {

// "/v2/<name>/<verb>/<last>" -> its parts; `verb` stands before the last component.
std::optional<Place> split(std::string_view path, std::string_view verb, Route route) {
  constexpr std::string_view root = "/v2/";
  if (!path.starts_with(root)) return std::nullopt;
  path.remove_prefix(root.size());
  const auto last = path.rfind('/');
  if (last == path.npos) return std::nullopt;
  const std::string_view head = path.substr(0, last);
  if (!head.ends_with(verb) || head.size() <= verb.size() || head[head.size() - verb.size() - 1] != '/')
    return std::nullopt;
  return Place{route, head.substr(0, head.size() - verb.size() - 1), path.substr(last + 1)};
}

}  // namespace

Place place_of(std::string_view path) {
  if (path == "/v2" || path == "/v2/") return {Route::base, {}, {}};
  if (Api::owns(path)) return {path.starts_with("/api/events/") ? Route::events : Route::api, {}, {}};
  if (path == "/web/compose") return {Route::page, {}, {}};
  if (path == "/metrics") return {Route::metrics, {}, {}};
  if (path == "/healthz") return {Route::health, {}, {}};
  if (path == "/readyz") return {Route::ready, {}, {}};
  if (const auto place = split(path, "manifests", Route::manifest)) return *place;
  if (path == "/v2/_catalog") return {Route::catalog, {}, {}};
  if (const auto place = split(path, "tags", Route::tags); place && place->reference == "list") return *place;
  if (const auto place = split(path, "referrers", Route::referrers)) return *place;
  if (const auto place = split(path, "blobs", Route::blob)) return *place;
  return {};
}

}  // namespace nixery::http
