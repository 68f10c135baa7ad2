#include "health/status.h"

#include "http/answers.h"
#include "metrics/exposition.h"

namespace nixery::health {

namespace {

http::Response answer(int status, std::string body) {
  http::Response response = http::answer_json(std::move(body) + "\n");
  response.status = status;
  response.header("Cache-Control", "no-store");
  return response;
}

}  // namespace

http::Response Status::metrics() const {
  http::Response response;
  response.header("Content-Type", std::string(metrics::Exposition::content_type)).header("Cache-Control", "no-store");
  response.body = metrics::page(metrics_, read_());
  return response;
}

http::Response Status::health() const {
  return answer(200, R"({"alive":true})");
}

http::Response Status::ready() {
  const auto checks = readiness_.latest();
  return answer(faults_in(checks).empty() ? 200 : 503, readiness_report(checks));
}

}  // namespace nixery::health
