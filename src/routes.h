// The route table: methods, pattern and handler of every path that a worker answers.
//
// A request takes the first route whose pattern its path matches. 404 for other paths, 405 with Allow for other
// methods, the labels of metrics and the access log follow from the table.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "health/status.h"
#include "http/handler.h"
#include "registry_api/registry_api.h"
#include "web/api.h"

namespace nixery {

// The handlers' objects; all must outlive the router.
struct Handlers {
  const registry_api::RegistryApi* registry = nullptr;
  const web::Api* web = nullptr;
  health::Status* status = nullptr;  // nullptr: /metrics, /healthz and /readyz answer 404
};

struct RouteMatch;

struct Route {
  std::string_view label;    // in metrics and the log; several routes may share one
  std::string_view methods;  // as in the Allow header
  // Text, and placeholders in this order: <repository>, one or more components of a path; <reference>, the last
  // component; <rest>, the remainder with slashes. None is checked, and each may be empty.
  std::string_view pattern;
  http::HandlerResult (*handle)(const Handlers& handlers, const http::Request& request, const RouteMatch& match);
};

struct RouteMatch {
  const Route* route = nullptr;  // never nullptr: the last route matches every path
  // `reference` is the last component of every path with a repository, also of "…/tags/list".
  std::string_view repository, reference, rest;
};

std::span<const Route> routes();

// `path` is decoded, without the query; it must outlive the match. Pure.
RouteMatch match_route(std::string_view path);

// Each label of the table once.
std::vector<std::string_view> route_labels();

// Thread-safe.
class Router : public http::Handler {
 public:
  explicit Router(Handlers handlers) : handlers_(handlers) {}

  http::RequestLabels labels_of(const http::Request& request) const override;
  http::HandlerResult answer(const http::Request& request) const override;

 private:
  const Handlers handlers_;
};

}  // namespace nixery
