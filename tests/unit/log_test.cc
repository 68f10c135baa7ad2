#include "log.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "cause.h"
#include "json/json.h"
#include "logged.h"

using namespace nixery;
using test::logged;

TEST_CASE("a line is JSON with the thread's cause") {
  const CauseScope scope({"r-1", TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")});
  const auto line = logged([] { log::warning("x \"y\"", {{"a", "b\nc"}}); });
  CHECK(line.find('\n') == line.size() - 1);
  const auto document = json::parse(line, "the line");
  CHECK(json::string_or(document, "level", "") == "warning");
  CHECK(json::string_or(document, "event", "") == "x \"y\"");
  CHECK(json::string_or(document, "a", "") == "b\nc");
  CHECK(json::string_or(document, "request", "") == "r-1");
  CHECK(json::string_or(document, "trace_id", "") == "4bf92f3577b34da6a3ce929d0e0e4736");
  CHECK(json::string_or(document, "span_id", "") == "00f067aa0ba902b7");
}

TEST_CASE("lines above the level are omitted") {
  const auto lines = [] {
    return logged([] {
      log::error("e");
      log::warning("w");
      log::info("i");
      log::debug("d");
    });
  };
  const auto count = [](const std::string& text) { return std::count(text.begin(), text.end(), '\n'); };
  CHECK(count(lines()) == 3);  // info, unless it is set
  log::set_level(log::Level::error);
  CHECK(count(lines()) == 1);
  log::set_level(log::Level::debug);
  CHECK(count(lines()) == 4);
  log::set_level(log::Level::info);
}

TEST_CASE("levels have names") {
  CHECK(log::level_of("error") == log::Level::error);
  CHECK(log::level_of("debug") == log::Level::debug);
  CHECK_FALSE(log::level_of("verbose"));
}
