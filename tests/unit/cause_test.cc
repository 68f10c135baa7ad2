#include "cause.h"

#include <doctest/doctest.h>

#include <thread>
#include <variant>

#include "http/answers.h"
#include "http/message.h"
#include "jobs/job_queue.h"
#include "os/process.h"

using namespace nixery;

namespace {

const std::string trace = "4bf92f3577b34da6a3ce929d0e0e4736", span = "00f067aa0ba902b7";
const std::string whole = "00-" + trace + "-" + span + "-01";

Cause named(const std::string& request) {
  return {request, TraceParent::parse(whole)};
}

std::string traceparent_of_child() {
  os::Command command;
  command.argv = {"sh", "-c", "echo \"$TRACEPARENT\""};
  return os::run(command).output;
}

}  // namespace

TEST_CASE("a traceparent is parsed and formatted") {
  const auto parsed = TraceParent::parse(whole);
  REQUIRE(parsed);
  CHECK(parsed->trace_id == trace);
  CHECK(parsed->span_id == span);
  CHECK(parsed->flags == "01");
  CHECK(parsed->str() == whole);
}

TEST_CASE("the known part of a later traceparent version is used") {
  CHECK(TraceParent::parse("cc-" + trace + "-" + span + "-01")->str() == whole);
  CHECK(TraceParent::parse("cc-" + trace + "-" + span + "-01-what-the-future-brings")->str() == whole);
  CHECK_FALSE(TraceParent::parse("cc-" + trace + "-" + span + "-01.what"));
}

TEST_CASE("a malformed traceparent is ignored") {
  for (const std::string& text :
       {std::string(), std::string("00"), "ff-" + trace + "-" + span + "-01",
        "00-" + std::string(32, '0') + "-" + span + "-01", "00-" + trace + "-" + std::string(16, '0') + "-01",
        whole + "-x", whole + "0", "00-" + trace + "-" + span + "-0", "00-" + trace + "_" + span + "-01",
        "00-4BF92f3577b34da6a3ce929d0e0e4736-" + span + "-01", " " + whole, "00-" + trace + "-" + span + "\r\n01"})
    CHECK_MESSAGE(!TraceParent::parse(text), text);
}

TEST_CASE("a request's id and trace come from the web server, and invalid ones are ignored") {
  const auto read = [](std::string id, std::string parent) {
    return http::read_request([=](const char* name) -> const char* {
             static thread_local std::string kept;
             kept = name == std::string_view("NIXERY_REQUEST_ID")  ? id
                    : name == std::string_view("HTTP_TRACEPARENT") ? parent
                                                                   : "";
             return kept.c_str();
           })
        .cause;
  };
  const Cause cause = read("a1B2-c", whole);
  CHECK(cause.request == "a1B2-c");
  CHECK(cause.trace->trace_id == trace);
  for (const char* odd : {"a\r\nX: y", "a b", "\"", "<b>", "a\xc3\xa4"}) CHECK(read(odd, "x").request.empty());
  CHECK(read(std::string(129, 'a'), "").request.empty());
  CHECK_FALSE(read("a", "nonsense").trace);
}

TEST_CASE("an error's detail has the id of the thread's request") {
  const Error error(Failure::unknown_tag, "x");
  CHECK(http::answer_error(error).body.find("\"request\"") == std::string::npos);
  const CauseScope scope(named("r-1"));
  CHECK(http::answer_error(error).body.find(R"("detail":{"failure":"unknown_tag","request":"r-1"})") !=
        std::string::npos);
}

TEST_CASE("a scope restores the previous cause, and is thread-local") {
  const CauseScope outer(named("outer"));
  {
    const CauseScope inner(named("inner"));
    CHECK(current_cause().request == "inner");
    std::string elsewhere = "?";
    std::thread([&] { elsewhere = current_cause().request; }).join();
    CHECK(elsewhere.empty());
  }
  CHECK(current_cause().request == "outer");
}

TEST_CASE("a job has the cause of the request that started it") {
  jobs::JobQueue<int, std::monostate> jobs({1, 10, std::chrono::seconds(0)});
  std::string seen;
  const CauseScope scope(named("r-7"));
  jobs.submit("a", "key",
              [&](std::monostate&, const std::stop_token&) {
                seen = current_cause().request;
                return 0;
              })
      ->wait_until(std::chrono::steady_clock::now() + std::chrono::minutes(1));
  CHECK(seen == "r-7");
}

TEST_CASE("a child process gets the trace of the cause, not the inherited one") {
  setenv("TRACEPARENT", "00-old-old-00", 1);
  CHECK(traceparent_of_child() == "\n");
  {
    const CauseScope scope(named("r"));
    CHECK(traceparent_of_child() == whole + "\n");
  }
  unsetenv("TRACEPARENT");
}

TEST_CASE("response headers have the request's id") {
  CHECK(http::head_of({}, "r-1").find("\r\nX-Request-Id: r-1\r\n") != std::string::npos);
  CHECK(http::head_of({}).find("X-Request-Id") == std::string::npos);
}
