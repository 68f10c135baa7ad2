// The cause of a thread's work: a request, or the build that it started, and the client's trace.
//
// Log lines (log.h) and error responses contain it. The trace is passed on: to Nix as TRACEPARENT in the environment,
// to other servers as the header of that name.
//
// It is thread-local, because as an argument it would be in the signature of every function that logs or starts a
// process. A thread works for one cause at a time. Code that passes work to another thread passes the cause, too.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nixery {

// W3C Trace Context, "traceparent". Nixery records no spans, so it is passed on unchanged.
struct TraceParent {
  std::string trace_id;  // 32 hex
  std::string span_id;   // 16 hex: the client's span
  std::string flags;     // 2 hex

  // nullopt for what is malformed, or all zeros. Of a later version, the known part is used.
  static std::optional<TraceParent> parse(std::string_view text);
  std::string str() const;  // "00-<trace_id>-<span_id>-<flags>"
};

struct Cause {
  std::string request;  // the web server's request id; may be empty
  std::optional<TraceParent> trace;
};

// Returns an id of up to 128 letters, digits and a few characters that are safe in headers and JSON; otherwise empty.
std::string checked_request_id(std::string_view text);

// This thread's cause; empty outside of a CauseScope.
const Cause& current_cause();

// Sets this thread's cause to `cause` until the end of the scope.
class CauseScope {
 public:
  explicit CauseScope(Cause cause);
  CauseScope(const CauseScope&) = delete;
  CauseScope& operator=(const CauseScope&) = delete;
  ~CauseScope();

 private:
  Cause before_;
};

}  // namespace nixery
