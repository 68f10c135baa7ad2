#include "http/status.h"

#include <fmt/format.h>

#include "http/answers.h"
#include "metrics/exposition.h"

namespace nixery::http {

namespace {

constexpr std::chrono::seconds check_timeout{3};  // shorter than whoever probes has

Response answer(int status, std::string body) {
  Response response = answer_json(std::move(body) + "\n");
  response.status = status;
  response.header("Cache-Control", "no-store");
  return response;
}

}  // namespace

Response Status::metrics() const {
  Response response;
  response.header("Content-Type", std::string(metrics::Exposition::content_type)).header("Cache-Control", "no-store");
  response.body = metrics::page(metrics_, read_());
  return response;
}

Response Status::health() const {
  return answer(200, R"({"alive":true})");
}

Waiting Status::ready(const Request& request) {
  const auto job = readiness_.look();
  return {request,
          job,
          std::chrono::steady_clock::now() + check_timeout,
          [this, job] {
            const auto result = *job->result();
            return ready_or_draining(result.error ? answer(503, result.error->detail()) : answer(200, *result.value));
          },
          {},
          [this] {
            const std::string why = fmt::format("the checks have not ended within {} s", check_timeout.count());
            return ready_or_draining(answer(503, readiness_report({{"answer", why}})));
          }};
}

Response Status::ready_or_draining(Response response) const {
  if (!readiness_.draining()) return response;
  return answer(503, readiness_report({{"draining", "the worker is about to end"}}));
}

}  // namespace nixery::http
