#include "http/answers.h"

#include <fmt/format.h>

#include <charconv>

#include "cause.h"
#include "json/json.h"
#include "log.h"
#include "text/encoding.h"
#include "text/public_text.h"

namespace nixery::http {

namespace {

constexpr std::string_view hop_parameter = "nixery-hop";

struct Shape {
  int status;
  std::string_view code;  // of the distribution-spec
  int retry_after = 0;    // seconds; 0: no such header
};

Shape shape_of(Failure failure) {
  switch (failure) {
    case Failure::bad_name: return {400, "NAME_INVALID"};
    case Failure::bad_tag: return {404, "MANIFEST_UNKNOWN"};
    case Failure::bad_digest: return {400, "DIGEST_INVALID"};
    case Failure::unknown_tag:
    case Failure::unknown_package:
    case Failure::not_a_package:
    case Failure::unsupported_platform:
    case Failure::removed:
    case Failure::not_cached:
    case Failure::unknown_manifest: return {404, "MANIFEST_UNKNOWN"};
    case Failure::unknown_blob: return {404, "BLOB_UNKNOWN"};
    case Failure::bad_query: return {400, "UNSUPPORTED"};
    case Failure::unknown_repository: return {404, "NAME_UNKNOWN"};
    case Failure::switched_off: return {404, "UNSUPPORTED"};
    case Failure::unfree:
    case Failure::insecure:
    case Failure::broken:
    case Failure::forbidden: return {403, "DENIED"};
    case Failure::bad_declaration:
    case Failure::package_too_large:
    case Failure::evaluation_failed: return {422, "MANIFEST_INVALID"};
    case Failure::build_failed:
    case Failure::timed_out: return {424, "MANIFEST_INVALID"};
    case Failure::still_building: return {429, "TOOMANYREQUESTS", 10};
    case Failure::too_busy: return {429, "TOOMANYREQUESTS", 15};
    case Failure::unavailable:
    case Failure::storage:
    case Failure::corrupt: return {503, "UNAVAILABLE", 15};
    case Failure::unknown_route: return {404, "NAME_UNKNOWN"};
    case Failure::unsupported_method: return {405, "UNSUPPORTED"};
    case Failure::bad_config: return {500, "UNKNOWN"};
  }
  return {500, "UNKNOWN"};
}

// Operators' details (paths, hosts) stay in the log; clients cannot fix these failures.
bool for_operator_only(Failure failure) {
  return failure == Failure::storage || failure == Failure::bad_config || failure == Failure::corrupt;
}

}  // namespace

Response response_of_type(int status, std::string_view content_type) {
  Response response;
  response.status = status;
  response.header("Content-Type", std::string(content_type))
      .header("Docker-Distribution-API-Version", "registry/2.0")
      .header("X-Content-Type-Options", "nosniff");
  return response;
}

std::string message_of(const Error& error) {
  if (for_operator_only(error.failure())) return "internal error of the registry: see its log, and try again later";
  return text::public_text(error.what());
}

Response answer_error(const Error& error, std::string_view declaration) {
  const Shape shape = shape_of(error.failure());
  std::string message = message_of(error);
  // Clients print the message and not the detail, so the message ends with the build's log.
  if (error.failure() == Failure::build_failed && !error.detail().empty())
    message += "\n" + text::public_text(error.detail());

  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "errors");
  writer.StartArray();
  writer.StartObject();
  json::member(writer, "code", shape.code);
  json::member(writer, "message", message);
  json::key(writer, "detail");
  writer.StartObject();
  json::member(writer, "failure", name_of(error.failure()));
  if (const std::string& request = current_cause().request; !request.empty()) json::member(writer, "request", request);
  if (!declaration.empty()) json::member(writer, "declaration", declaration);
  writer.EndObject();
  writer.EndObject();
  writer.EndArray();
  writer.EndObject();

  Response response = response_of_type(shape.status, "application/json");
  response.header("Cache-Control", "no-store");
  if (shape.retry_after > 0) response.header("Retry-After", fmt::format("{}", shape.retry_after));
  response.body = buffer.GetString();
  response.body += '\n';
  return response;
}

void log_failure(const Request& request, const Error& error) {
  const auto level = error.failure() == Failure::storage ? log::Level::error : log::Level::warning;
  log::write(level, "request failed", {{"path", request.path.substr(0, 300)}, {"error", std::string(error.what())}});
}

Response answer_unexpected(const Request& request, const std::exception& error) {
  log_failure(request, Error(Failure::unavailable, error.what()));
  return answer_error(Error(Failure::unavailable, "the registry could not answer: try again later"));
}

Response answer_json(std::string body) {
  Response response = response_of_type(200, "application/json");
  response.body = std::move(body);
  return response;
}

unsigned hop_of(const Request& request) {
  const auto text = query_parameter(request.query, hop_parameter).value_or("");
  unsigned hop = 0;
  std::from_chars(text.data(), text.data() + text.size(), hop);
  return hop;
}

Response answer_redirect(const Request& request, unsigned hop) {
  const std::string query = with_query_parameter(request.query, hop_parameter, fmt::format("{}", hop));
  Response response = response_of_type(307, "application/json");
  // The decoded path: a pending request has passed the parsers, so its path needs no escapes. The query is undecoded;
  // characters that would end the header's line are escaped.
  const auto is_visible = [](char c) { return c != ' ' && text::is_printable(c); };
  response.header("Location", fmt::format("{}?{}", request.path, text::percent_encode(query, is_visible)))
      .header("Cache-Control", "no-store");
  response.body = "{}";
  return response;
}

}  // namespace nixery::http
