// The interface between the transport and the routes; the transport knows no route.
#pragma once

#include <cstddef>
#include <string_view>

#include "http/handler_result.h"

namespace nixery::http {

// How a request is counted and logged.
struct RequestLabels {
  std::size_t route = 0;                   // index into the labels of metrics::RequestCounts
  std::string_view repository, reference;  // route parameters, if any; parts of the request's path
};

// Thread-safe.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual RequestLabels labels_of(const Request& request) const = 0;
  // Never throws: failures are responses.
  virtual HandlerResult answer(const Request& request) const = 0;
};

}  // namespace nixery::http
