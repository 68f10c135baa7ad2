// The result of a handler: a response, a wait for a job, or a response in pieces.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "http/message.h"
#include "jobs/job_queue.h"

namespace nixery::http {

// A request that waits for a job. Both functions run on the thread that answers all pending requests, so they must not
// block.
struct Waiting {
  Request request;
  std::shared_ptr<jobs::AnyJob> job;
  std::chrono::steady_clock::time_point deadline;
  std::function<Response()> when_finished;
  std::function<Response()> when_late;  // at the deadline
};

// The response once the job has finished or the deadline has passed. Never throws: failures are responses.
Response resume(const Waiting& waiting);

// A response in pieces. `next` returns new text without blocking, possibly empty; nullopt at the end. An exception also
// ends it.
struct Streaming {
  Response head;  // with no body
  std::function<std::optional<std::string>()> next;
};

using HandlerResult = std::variant<Response, Waiting, Streaming>;

}  // namespace nixery::http
