// What becomes of a request: a response, a wait for a job, or a response in pieces.
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

// A request that waits for a job. Both functions run on the one thread that answers all who wait: they must not wait
// for anything themselves, such as a lock.
struct Waiting {
  Request request;
  std::shared_ptr<jobs::AnyJob> job;
  std::chrono::steady_clock::time_point deadline;
  std::function<Response()> when_finished;
  std::function<Response()> when_late;  // at the deadline
};

// The response once the job has finished or the deadline has passed. Never throws: failures are responses.
Response resume(const Waiting& waiting);

// A response that goes on for a while. `next` returns what is new, at once and perhaps nothing; nullopt at the end.
// It may throw, which is the end too.
struct Streaming {
  Response head;  // with no body
  std::function<std::optional<std::string>()> next;
};

using HandlerResult = std::variant<Response, Waiting, Streaming>;

}  // namespace nixery::http
