// Maps failures to HTTP responses (OCI distribution-spec v1.1, "Error Codes").
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "error.h"
#include "http/message.h"

namespace nixery::http {

// Statuses are chosen by what clients show to users: docker, podman and skopeo print the message of a 400, 403, 404,
// 422, 424 or 429, and drop that of a 5xx. So permanent failures are 4xx. 429 has Retry-After: podman and skopeo then
// retry by themselves, so it is used for short conditions such as a full queue. 503 is for faults of the registry
// itself. The detail has the failure's name, the id of this thread's request, and `declaration`: the declaration's hash
// if it is a declared image.
Response answer_error(const Error& error, std::string_view declaration = {});
// The message for clients: public_text(), or less for failures that concern only the operator.
std::string message_of(const Error& error);

// One line of the log.
void log_failure(const Request& request, const Error& error);
// For exceptions other than Error: logs it, and responds only that the registry could not answer.
Response answer_unexpected(const Request& request, const std::exception& error);

// Adds the headers of every response of the registry.
Response response_of_type(int status, std::string_view content_type);
Response answer_json(std::string body);
// 307 to the same URL with the hop counter incremented; never cached.
Response answer_redirect(const Request& request, unsigned hop);
unsigned hop_of(const Request& request);

}  // namespace nixery::http
