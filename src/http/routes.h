// Which route an address takes, and what it names: for answering, counting and logging alike. Pure.
#pragma once

#include <string_view>

#include "metrics/metrics.h"

namespace nixery::http {

using metrics::Route;

struct RouteMatch {
  Route route = Route::none;
  std::string_view repository;  // of what is below /v2/<repository>/; parts of the path, not checked
  std::string_view reference;   // the last part: a tag or a digest
};

// `path` is decoded, without the query; it must outlive what is returned.
RouteMatch match_route(std::string_view path);

}  // namespace nixery::http
