#include "http/access_log.h"

#include <fmt/format.h>

#include "log.h"

namespace nixery::http {

namespace {

constexpr std::size_t longest = 300;  // bytes of a client's text

std::string shown(std::string_view text) {
  return std::string(text.substr(0, longest));
}

}  // namespace

void AccessLog::note(const Request& request, const ResponseStats& answered) const {
  const RequestLabels labels = handler_.labels_of(request);
  const auto duration = std::chrono::steady_clock::now() - answered.accepted;
  metrics_.requests.note(labels.route, answered.status, duration);
  metrics_.response_bytes.add(answered.bytes);

  // With these statuses there was nothing to build.
  const bool refused = answered.status == 400 || answered.status == 403 || answered.status == 404;
  const bool built = answered.waited && !refused && !labels.repository.empty();
  const log::Level level = built ? log::Level::info : log::Level::debug;
  if (!log::shows(level)) return;
  const CauseScope scope(request.cause);
  const std::string status = fmt::format("{}", answered.status), bytes = fmt::format("{}", answered.bytes);
  const std::string seconds = fmt::format("{:.3f}", std::chrono::duration<double>(duration).count());
  // The path, never the query, which may contain secrets.
  if (labels.repository.empty()) {
    log::write(level, "request",
               {{"route", std::string(metrics_.requests.label(labels.route))},
                {"method", shown(request.method)},
                {"path", shown(request.path)},
                {"status", status},
                {"bytes", bytes},
                {"seconds", seconds},
                {"client", request.client}});
  } else {
    log::write(level, "request",
               {{"route", std::string(metrics_.requests.label(labels.route))},
                {"method", shown(request.method)},
                {"repository", shown(labels.repository)},
                {"reference", shown(labels.reference)},
                {"status", status},
                {"bytes", bytes},
                {"seconds", seconds},
                {"client", request.client}});
  }
}

}  // namespace nixery::http
