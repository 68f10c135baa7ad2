#include "routes.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace nixery;

namespace {

std::string header_of(const http::Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

// Of a router without handlers, which may only be asked what leads to none.
http::Response answer(const std::string& method, const std::string& path) {
  http::Request request;
  request.method = method;
  request.path = path;
  return std::get<http::Response>(Router({}).answer(request));
}

// A path that takes the route.
std::string example_of(const Route& route) {
  std::string path(route.pattern);
  for (const auto& [mark, value] : {std::pair("<repository>", "a/b"), {"<reference>", "c"}, {"<rest>", "/d/e"}})
    if (const auto at = path.find(mark); at != path.npos) path.replace(at, std::string_view(mark).size(), value);
  return path;
}

std::string_view label_of(std::string_view path) {
  return match_route(path).route->label;
}

}  // namespace

TEST_CASE("routes: each route of the table is reached, and none hides another") {
  for (const Route& route : routes()) {
    const std::string path = example_of(route);
    CHECK_MESSAGE(match_route(path).route == &route, path);
  }
}

TEST_CASE("routes: a path is matched by its route and taken apart") {
  const std::string path = "/v2/a/manifests/b/manifests/latest";
  const RouteMatch manifest = match_route(path);
  CHECK(manifest.route->label == "manifest");
  CHECK(manifest.repository == "a/manifests/b");
  CHECK(manifest.reference == "latest");
  CHECK(match_route("/v2/a/b/manifests/").reference.empty());
  CHECK(match_route("/v2//manifests/x").repository.empty());
  CHECK(match_route("/v2/a/tags/list").reference == "list");  // the log names it
  const RouteMatch plan = match_route("/api/plan/shell/git:latest");
  CHECK(plan.rest == "shell/git:latest");
  CHECK(plan.repository.empty());
  CHECK(label_of("/v2/a/blobs/sha256:00") == "blob");
  CHECK(label_of("/v2/") == "base");
  CHECK(label_of("/v2") == "base");
  CHECK(label_of("/v2/_catalog") == "catalog");
  CHECK(label_of("/v2/_catalog/manifests/x") == "manifest");
  CHECK(label_of("/v2/a/tags/list") == "tags");
  CHECK(label_of("/v2/a/referrers/sha256:00") == "referrers");
  CHECK(label_of("/api/nothing") == "api");
  CHECK(label_of("/api/events/a") == "events");
  for (const char* other : {"", "/", "/metrics/", "/v2/manifests/x", "/v2/a/tags/other", "/v2/tags/list", "/v3/",
                            "/v2/a/blobs/uploads/", "/web/compose/x", "/api", "x/v2/"})
    CHECK_MESSAGE(label_of(other) == "none", other);
}

TEST_CASE("routes: a method that a route does not have is answered 405 with those that it has") {
  for (const Route& route : routes())
    for (const char* method : {"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "", "GET, HEAD", "GET,"}) {
      const auto response = answer(method, example_of(route));
      CHECK(response.status == 405);
      CHECK(header_of(response, "Allow") == route.methods);
    }
}

TEST_CASE("routes: an address without a route, or whose handler does not exist, is answered 404") {
  for (const char* path : {"/", "/nothing", "/api/nothing", "/metrics", "/healthz", "/readyz"})
    for (const char* method : {"GET", "HEAD"}) {
      CHECK(answer(method, path).status == 404);
      CHECK(header_of(answer(method, path), "Allow").empty());
    }
  CHECK(answer("GET", "/v2/").status == 200);
}

TEST_CASE("routes: a request is counted under the label of its route") {
  const auto labels = route_labels();
  for (const Route& route : routes()) {
    http::Request request;
    request.path = example_of(route);
    CHECK(labels.at(Router({}).labels_of(request).route) == route.label);
    CHECK(std::ranges::count(labels, route.label) == 1);
  }
  http::Request request;
  request.path = "/v2/a/b/manifests/c";
  CHECK(Router({}).labels_of(request).repository == "a/b");
  CHECK(Router({}).labels_of(request).reference == "c");
}
