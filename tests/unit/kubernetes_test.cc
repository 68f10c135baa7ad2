#include <doctest/doctest.h>

#include "error.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/lease.h"
#include "kubernetes/nix_image.h"
#include "kubernetes/reconcile.h"
#include "kubernetes/watch.h"
#include "kubernetes/work_queue.h"

using namespace nixery;
using namespace nixery::kubernetes;
using namespace std::chrono_literals;

TEST_CASE("a back-off doubles up to its most, of which a random part is half") {
  CHECK(back_off(0, 100ms, 1000ms, 0) == 50ms);
  CHECK(back_off(3, 100ms, 1000ms, 0) == 400ms);
  CHECK(back_off(4, 100ms, 1000ms, 0) == 500ms);
  CHECK(back_off(4'000'000, 100ms, 1000ms, 0.5) == 750ms);
}

TEST_CASE("a key is taken once, by time, and again after work on it if it was named meanwhile") {
  Schedule schedule(100ms, 1000ms);
  const Clock::time_point start;
  schedule.add("late", start + 5s);
  schedule.add("early", start + 1s);
  schedule.add("late", start + 9s);  // it was due earlier
  CHECK_FALSE(schedule.take(start));
  CHECK(schedule.take(start + 9s) == "early");
  CHECK(schedule.take(start + 9s) == "late");
  schedule.add("late", start);
  CHECK_FALSE(schedule.take(start + 9s));
  schedule.done("late");
  CHECK(schedule.take(start) == "late");
  schedule.done("late");
  CHECK_FALSE(schedule.next_due());
}

TEST_CASE("failures put a key off ever longer until it is forgiven") {
  Schedule schedule(100ms, 1000ms);
  const Clock::time_point start;
  for (const auto delay : {50ms, 100ms, 200ms}) {
    schedule.add_after_failure("a", start, 0);
    CHECK(schedule.next_due() == start + delay);
    CHECK(schedule.take(start + delay) == "a");
    schedule.done("a");
  }
  schedule.forgive("a");
  schedule.add_after_failure("a", start, 0);
  CHECK(schedule.next_due() == start + 50ms);
}

TEST_CASE("lines come out whole, wherever the bytes are cut") {
  const std::string text = "{\"a\":1}\n\n{\"b\":2}\n{";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    std::vector<std::string> seen;
    Lines lines;
    for (const auto part : {std::string_view(text).substr(0, cut), std::string_view(text).substr(cut)})
      lines.feed(part, [&](std::string_view line) { seen.emplace_back(line); });
    CHECK(seen == std::vector<std::string>{"{\"a\":1}", "{\"b\":2}"});
  }
}

TEST_CASE("watch events of unknown types or without an object are errors") {
  const auto event = parse_watch_event(R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}})");
  CHECK(event.type == WatchEvent::Type::bookmark);
  CHECK(resource_version_of(event.object) == "7");
  CHECK_THROWS_AS(parse_watch_event(R"({"type":"NEW","object":{}})"), Error);
  CHECK_THROWS_AS(parse_watch_event(R"({"type":"ADDED"})"), Error);
}

TEST_CASE("a kubeconfig's current context counts, and plugins are refused") {
  const std::string head =
      "current-context: b\ncontexts:\n- {name: a, context: {cluster: x}}\n- {name: b, context: {cluster: y, user: u}}\n"
      "clusters:\n- {name: x, cluster: {server: 'https://x'}}\n- name: y\n  cluster:\n    server: https://y:6443/\n"
      "    certificate-authority-data: aGVsbG8=\nusers:\n- name: u\n  user:\n";
  const auto access = parse_kubeconfig(head + "    tokenFile: t\n    client-key: /k\n", "config", "/etc/k");
  CHECK(access.server == "https://y:6443");
  CHECK(access.ca_pem == "hello");
  CHECK(access.token_file == "/etc/k/t");
  CHECK(access.client_key_file == "/k");
  CHECK_THROWS_AS(parse_kubeconfig(head + "    exec: {command: aws}\n", "config", "/"), Error);
  CHECK_THROWS_AS(parse_kubeconfig("a: [", "config", "/"), Error);
  CHECK_THROWS_AS(parse_kubeconfig("", "config", "/"), Error);
}

TEST_CASE("a lease is taken from a holder that has been silent for as long as it promised, by our own clock") {
  LeaseView view;
  const Clock::time_point start;
  CHECK_FALSE(view.may_take("me", start));
  view.observe("other", "t1", 15s, start);
  CHECK_FALSE(view.may_take("me", start + 14s));
  view.observe("other", "t1", 15s, start + 14s);
  CHECK(view.may_take("me", start + 15s));
  view.observe("other", "t2", 15s, start + 15s);
  CHECK_FALSE(view.may_take("me", start + 29s));
  view.observe("", "t2", 1s, start + 29s);
  CHECK(view.may_take("me", start + 29s));
}

TEST_CASE("transition times stay while a condition's status does") {
  Status before, wanted;
  before.conditions = {{"Ready", "False", "Building", "", 1, "then"}, {"Built", "True", "Built", "", 1, "then"}};
  wanted.conditions = {{"Ready", "True", "Built", "", 2, ""}, {"Built", "True", "Built", "", 2, ""}};
  const Status told = with_transitions(wanted, before, "now");
  CHECK(told.conditions[0].last_transition == "now");
  CHECK(told.conditions[1].last_transition == "then");
}

TEST_CASE("names that could lead out of the directory are refused, and data with mistakes") {
  const auto parse = [](const std::string& name, const std::string& data) {
    return parse_nix_image(
        json::parse(R"({"metadata":{"namespace":"n","name":")" + name + R"("},"data":)" + data + "}", "the test"));
  };
  CHECK_THROWS_AS(parse("../x", "{}"), Error);
  CHECK_THROWS_AS(parse("", "{}"), Error);
  CHECK(declared_json(parse("a", R"({"contents":["git"]})"), "n/a") == R"({"name":"n/a","contents":["git"]})");
  CHECK_THROWS_AS(declared_json(parse("a", "{}"), "n/a"), Error);
  CHECK_THROWS_AS(declared_json(parse("a", R"({"name":"x","contents":["git"]})"), "n/a"), Error);
}
