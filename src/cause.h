// What a thread is working for: a request, or the build that it began, and the trace that its client keeps of it.
//
// Every line of the log carries it (log.h), and so do error answers; what we start gets the trace: Nix by
// TRACEPARENT in its environment, other servers by the header of that name.
//
// It belongs to the thread and is no argument, as it would otherwise stand in the signature of everything that may log
// or start something. A thread works for one cause at a time. Who hands work to another thread hands it over too.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nixery {

// W3C Trace Context, "traceparent". We record no spans, so it is handed on as it came.
struct TraceParent {
  std::string trace_id;  // 32 hex
  std::string span_id;   // 16 hex: the client's span
  std::string flags;     // 2 hex

  // nullopt for what is malformed, or all zeros. Of a later version, the part that we know is taken.
  static std::optional<TraceParent> parse(std::string_view text);
  std::string str() const;  // "00-<trace_id>-<span_id>-<flags>"
};

struct Cause {
  std::string request;  // the web server's id of it; empty where there is none
  std::optional<TraceParent> trace;
};

// An id of up to 128 letters, digits and a few signs that mean nothing in a header or in JSON; else empty.
std::string checked_request_id(std::string_view text);

// This thread's; empty outside of every CauseScope.
const Cause& current_cause();

// From here to the end of the scope, this thread works for `cause`.
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
