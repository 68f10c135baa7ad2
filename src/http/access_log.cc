#include "http/access_log.h"

#include <fmt/format.h>

#include "http/routes.h"
#include "log.h"

namespace nixery::http {

namespace {

constexpr std::size_t longest = 300;  // of what a client wrote

std::string shown(std::string_view text) {
  return std::string(text.substr(0, longest));
}

}  // namespace

void AccessLog::note(const Request& request, const ResponseStats& answered) const {
  const RouteMatch match = match_route(request.path);
  const auto duration = std::chrono::steady_clock::now() - answered.accepted;
  metrics_.requests.of(match.route, answered.status).add();
  metrics_.request_durations[static_cast<std::size_t>(match.route)].observe(duration);
  metrics_.response_bytes.add(answered.bytes);

  // With these statuses there was nothing to build.
  const bool refused = answered.status == 400 || answered.status == 403 || answered.status == 404;
  const bool built = answered.waited && !refused && (match.route == Route::manifest || match.route == Route::blob);
  const log::Level level = built ? log::Level::info : log::Level::debug;
  if (!log::shows(level)) return;
  const CauseScope scope(request.cause);
  const std::string status = fmt::format("{}", answered.status), bytes = fmt::format("{}", answered.bytes);
  const std::string seconds = fmt::format("{:.3f}", std::chrono::duration<double>(duration).count());
  // The path, never the query: nobody knows what a client puts there.
  if (match.repository.empty()) {
    log::write(level, "request",
               {{"route", std::string(name_of(match.route))},
                {"method", shown(request.method)},
                {"path", shown(request.path)},
                {"status", status},
                {"bytes", bytes},
                {"seconds", seconds},
                {"client", request.client}});
  } else {
    log::write(level, "request",
               {{"route", std::string(name_of(match.route))},
                {"method", shown(request.method)},
                {"repository", shown(match.repository)},
                {"reference", shown(match.reference)},
                {"status", status},
                {"bytes", bytes},
                {"seconds", seconds},
                {"client", request.client}});
  }
}

}  // namespace nixery::http
