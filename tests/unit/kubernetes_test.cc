#include <doctest/doctest.h>

#include "error.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/image_status.h"
#include "kubernetes/lease.h"
#include "kubernetes/nix_image.h"
#include "kubernetes/reconcile.h"
#include "kubernetes/settings.h"
#include "kubernetes/watch.h"
#include "kubernetes/work_queue.h"

using namespace nixery;
using namespace nixery::kubernetes;
using namespace std::chrono_literals;

TEST_CASE("a back-off doubles up to its limit, and half of it is random") {
  CHECK(back_off(0, 100ms, 1000ms, 0) == 50ms);
  CHECK(back_off(3, 100ms, 1000ms, 0) == 400ms);
  CHECK(back_off(4, 100ms, 1000ms, 0) == 500ms);
  CHECK(back_off(4'000'000, 100ms, 1000ms, 0.5) == 750ms);
}

TEST_CASE("a key is taken once, in order of time, and again after processing if it was added meanwhile") {
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

TEST_CASE("failures delay a key increasingly until forget()") {
  Schedule schedule(100ms, 1000ms);
  const Clock::time_point start;
  for (const auto delay : {50ms, 100ms, 200ms}) {
    schedule.add_after_failure("a", start, 0);
    CHECK(schedule.next_due() == start + delay);
    CHECK(schedule.take(start + delay) == "a");
    schedule.done("a");
  }
  schedule.forget("a");
  schedule.add_after_failure("a", start, 0);
  CHECK(schedule.next_due() == start + 50ms);
}

TEST_CASE("a server's Retry-After extends a key's back-off and never shortens it") {
  Schedule schedule(100ms, 1000ms);
  Clock::time_point start;
  const auto due_after = [&](milliseconds at_least) {
    schedule.add_after_failure("a", start, 0, at_least);
    const auto passed = *schedule.next_due() - start;
    start += passed;
    schedule.take(start);
    schedule.done("a");
    return passed;
  };
  CHECK(due_after(0ms) == 50ms);
  CHECK(due_after(0ms) == 100ms);
  CHECK(due_after(7000ms) == 7000ms);
  CHECK(due_after(0ms) == 400ms);

  // Adding it does not make it due earlier, not even during processing.
  schedule.add("a", start);
  schedule.take(start);
  schedule.add("a", start);
  schedule.add_after_failure("a", start, 0, 9000ms);
  schedule.done("a");
  schedule.add("a", start + 1s);
  CHECK(schedule.next_due() == start + 9s);
  schedule.take(start + 9s);
  schedule.forget("a");
  schedule.done("a");
  schedule.add("a", start);
  CHECK(schedule.next_due() == start);
}

TEST_CASE("watch events of unknown types or without an object are errors") {
  const auto event = parse_watch_event(R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}})");
  CHECK(event.type == WatchEvent::Type::bookmark);
  CHECK(resource_version_of(event.object) == "7");
  CHECK_THROWS_AS(parse_watch_event(R"({"type":"NEW","object":{}})"), Error);
  CHECK_THROWS_AS(parse_watch_event(R"({"type":"ADDED"})"), Error);
}

TEST_CASE("a kubeconfig's current context is used, and plugins are refused") {
  const std::string head =
      "current-context: b\ncontexts:\n- {name: a, context: {cluster: x}}\n- {name: b, context: {cluster: y, user: u}}\n"
      "clusters:\n- {name: x, cluster: {server: 'https://x'}}\n- name: y\n  cluster:\n    server: https://y:6443/\n"
      "    certificate-authority-data: aGVsbG8=\nusers:\n- name: u\n  user:\n";
  const auto access = parse_kubeconfig(head + "    tokenFile: t\n    client-key: /k\n", "config", "/etc/k");
  CHECK(access.server == "https://y:6443");
  CHECK(access.tls.ca_pem == "hello");
  CHECK(access.token_file == "/etc/k/t");
  CHECK(access.tls.client_key_file == "/k");
  const auto both = parse_kubeconfig(head + "    token: x\n    tokenFile: t\n", "config", "/etc/k");
  CHECK(both.token == "x");
  CHECK(both.token_file == "/etc/k/t");
  CHECK_THROWS_AS(parse_kubeconfig(head + "    exec: {command: aws}\n", "config", "/"), Error);
  CHECK_THROWS_AS(parse_kubeconfig("a: [", "config", "/"), Error);
  CHECK_THROWS_AS(parse_kubeconfig("", "config", "/"), Error);
}

TEST_CASE("a lease is taken from a holder that has not renewed within its duration, by our own clock") {
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

TEST_CASE("transition times change only with a condition's status") {
  ImageStatus before, wanted;
  before.conditions = {{"Ready", "False", "Building", "", 1, "then"}, {"Built", "True", "Built", "", 1, "then"}};
  wanted.conditions = {{"Ready", "True", "Built", "", 2, ""}, {"Built", "True", "Built", "", 2, ""}};
  const ImageStatus status = with_transitions(wanted, before, "now");
  CHECK(status.conditions[0].last_transition == "now");
  CHECK(status.conditions[1].last_transition == "then");
}

TEST_CASE("names that lead out of the directory and invalid data are refused") {
  const auto parse = [](const std::string& name, const std::string& data) {
    return parse_nix_image(
        json::parse(R"({"metadata":{"namespace":"n","name":")" + name + R"("},"data":)" + data + "}", "the test"));
  };
  CHECK_THROWS_AS(parse("../x", "{}"), Error);
  CHECK_THROWS_AS(parse("", "{}"), Error);
  CHECK(declare(parse("a", R"({"contents":["git"]})"), "n/a").text == R"({"name":"n/a","contents":["git"]})");
  CHECK_THROWS_AS(declare(parse("a", "{}"), "n/a"), Error);
  CHECK_THROWS_AS(declare(parse("a", R"({"name":"x","contents":["git"]})"), "n/a"), Error);
}

TEST_CASE("too large data is not kept, and dropped data is known by its hash") {
  const auto of_size = [](std::size_t size) {
    const std::string head = R"({"contents":["git"],"config":{"env":{"A":")", end = R"("}}})";
    return parse_nix_image(json::parse(R"({"metadata":{"namespace":"n","name":"a"},"data":)" + head +
                                           std::string(size - head.size() - end.size(), 'x') + end + "}",
                                       "the test"));
  };
  NixImage most = of_size(max_data);
  CHECK(most.data.size() == max_data);
  CHECK_NOTHROW(declare(most, "n/a"));
  CHECK_FALSE(most.has_left_data());
  const std::string hash = most.data_hash;
  CHECK(hash != of_size(max_data - 1).data_hash);
  most.leave_data();
  CHECK(most.has_left_data());
  CHECK(most.data_hash == hash);
  const NixImage large = of_size(max_data + 1);
  CHECK_FALSE(large.has_left_data());
  CHECK(large.data.empty());
  CHECK_THROWS_WITH_AS(declare(large, "n/a"), "data: it is missing, or its JSON is longer than 32768 bytes", Error);
}

TEST_CASE("a declaration's hash does not depend on its name and tag") {
  const auto hash = [](const std::string& data, const std::string& name) {
    NixImage image;
    image.data = data;
    return declare(image, name).hash;
  };
  const std::string one = hash(R"({"contents":["git"],"tag":"a"})", "n/a");
  CHECK(one.size() == 64);
  CHECK(one == hash(R"({"tag":"b","contents":["git"]})", "n/b"));
  CHECK(one != hash(R"({"contents":["git"],"config":{"cmd":[]}})", "n/a"));
}

TEST_CASE("versions are compared as numbers, and not at all if they are not numbers") {
  CHECK(is_older("9", "10"));
  CHECK(is_older("10", "11"));
  CHECK_FALSE(is_older("11", "11"));
  CHECK_FALSE(is_older("100", "99"));
  CHECK_FALSE(is_older("9x", "10"));
  CHECK_FALSE(is_older("", "10"));
}

TEST_CASE("a text is truncated between characters") {
  CHECK(shortened("äöü", 6) == "äöü");
  CHECK(shortened("aäöü", 6) == "aä…");
  CHECK(shortened("aaäöü", 6) == "aa…");
}

TEST_CASE("the oldest images of a namespace are within its quota, and images that come within it are reported") {
  const auto image = [](const std::string& name, const std::string& created) {
    NixImage made;
    made.namespace_name = "n";
    made.name = name;
    made.created = created;
    return made;
  };
  Quota quota(2);
  CHECK(quota.add(image("c", "2")).empty());
  CHECK(quota.add(image("b", "2")).empty());
  CHECK(quota.add(image("late", "3")).empty());
  CHECK(quota.is_over("n/late"));
  CHECK(quota.add(image("a", "1")) == std::vector<std::string>{"n/c"});
  CHECK(quota.is_over("n/c"));
  CHECK_FALSE(quota.is_over("n/b"));
  CHECK(quota.remove("n/late").empty());
  CHECK(quota.remove("n/a") == std::vector<std::string>{"n/c"});
  CHECK_FALSE(quota.is_over("n/c"));
  CHECK_FALSE(quota.is_over("n/unknown"));
  CHECK(Quota(0).add(image("a", "1")).empty());
}

TEST_CASE("a response counts only for its own declaration") {
  using State = PullResult::State;
  const auto answer = [](long status, const std::string& detail, const std::string& location = "") {
    http_client::Response response;
    response.status = status;
    response.headers = {{"Location", location}};
    response.body = R"({"errors":[{"code":"X","message":"why","detail":)" + detail + "}]}";
    return meaning_of(response, "hash");
  };
  const auto refused = answer(404, R"({"failure":"unknown_package","declaration":"hash"})");
  CHECK(refused.state == State::refused);
  CHECK(refused.reason == "UnknownPackage");
  CHECK(refused.message == "why");
  CHECK(answer(404, R"({"failure":"unknown_package","declaration":"other"})").state == State::not_taken);
  CHECK(answer(404, R"({"failure":"unknown_package"})").state == State::not_taken);
  CHECK(answer(404, "{}").state == State::unavailable);
  CHECK(answer(424, R"({"failure":"build_failed","declaration":"hash"})").state == State::failed);
  const auto busy = answer(429, R"({"failure":"too_busy","declaration":"hash"})"), limited = answer(429, "{}");
  CHECK(busy.state == State::unavailable);
  CHECK(busy.reason == "TooBusy");
  CHECK(limited.state == State::unavailable);
  CHECK(limited.reason == "TooManyRequests");
  CHECK(answer(503, R"({"failure":"unavailable","declaration":"hash"})").state == State::unavailable);
  CHECK(answer(429, R"({"failure":"still_building"})").state == State::building);
  CHECK(answer(307, "{}", "/v2/a/manifests/b?nixery-hop=1").state == State::building);
  CHECK(answer(307, "{}", "https://elsewhere/").state == State::unavailable);
  CHECK(answer(404, R"({"failure":"1-odd reason!","declaration":"hash"})").reason == "OddReason");
}

TEST_CASE("an image stays reported as built while the registry does not respond") {
  NixImage image;
  image.generation = 3;
  PullResult built, silent;
  built.state = PullResult::State::built;
  built.reason = "Built";
  built.digest = "sha256:x";
  silent.state = PullResult::State::unavailable;
  silent.reason = "RegistryUnavailable";
  silent.message = "no answer";
  const ImageStatus after = status_of(image, silent, built, "r/a:b"), never = status_of(image, silent, {}, "r/a:b");
  CHECK(after.digest == "sha256:x");
  CHECK(after.conditions[1].status == "True");
  CHECK(after.conditions[2].status == "Unknown");
  CHECK(after.last_error == "no answer");
  CHECK(never.digest.empty());
  CHECK(never.conditions[1].status == "Unknown");
  CHECK(never.conditions[2].observed_generation == 3);
}

TEST_CASE("a released lease has no holder, and changes hands once") {
  const std::string taken = held_lease(nullptr, "n", "l", "one", 15s, "2026-01-02T03:04:05.000000Z");
  const auto lease = json::parse(taken, "the test");
  CHECK(lease["spec"]["leaseTransitions"].GetInt() == 0);
  const auto given = json::parse(held_lease(&lease, "n", "l", "", 1s, "2026-01-02T03:04:06.000000Z"), "the test");
  CHECK_FALSE(given["spec"].HasMember("holderIdentity"));
  CHECK(given["spec"]["leaseTransitions"].GetInt() == 0);
  const auto next = json::parse(held_lease(&given, "n", "l", "two", 15s, "2026-01-02T03:04:07.000000Z"), "the test");
  CHECK(next["spec"]["leaseTransitions"].GetInt() == 1);
  CHECK(std::string(next["spec"]["acquireTime"].GetString()) == "2026-01-02T03:04:07.000000Z");
}

TEST_CASE("the controller's documented defaults are those that apply") {
  std::map<std::string, std::string> variables{{"NIXERY_IMAGES", "/images"}};
  const auto load = [&] {
    return load_settings([&](const char* name) {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    });
  };
  const ControllerSettings unset = load();
  for (const SettingDescription& setting : described_settings())
    if (setting.literal) variables.emplace(setting.name, setting.default_value);
  const ControllerSettings set = load();
  CHECK(unset.images == "/images");
  CHECK(unset.registry == "http://127.0.0.1:8080");
  CHECK(unset.resync == 300s);
  CHECK(set.registry == unset.registry);
  CHECK(set.quota == unset.quota);
  CHECK(set.builds == unset.builds);
  CHECK(set.resync == unset.resync);
  CHECK(set.settle == unset.settle);
  CHECK(set.log_level == unset.log_level);
  CHECK_FALSE(unset.identity.empty());
  variables["POD_NAME"] = "pod-1";
  CHECK(load().identity == "pod-1");
  variables["NIXERY_CONTROLLER_IDENTITY"] = "named";
  CHECK(load().identity == "named");
}

TEST_CASE("an invalid value of the controller is refused with the name of its variable") {
  for (const auto& [name, value] : {std::pair{"NIXERY_IMAGES", "relative"},
                                    {"NIXERY_CONTROLLER_REGISTRY", "registry.example.org"},
                                    {"NIXERY_CONTROLLER_HOST", "https://registry.example.org"},
                                    {"NIXERY_CONTROLLER_NAMESPACE", "Team"},
                                    {"NIXERY_CONTROLLER_SHORT_NAMES", "a/b"},
                                    {"NIXERY_CONTROLLER_QUOTA", "-1"},
                                    {"NIXERY_CONTROLLER_BUILDS", "0"},
                                    {"NIXERY_CONTROLLER_RESYNC", "5m"},
                                    {"NIXERY_CONTROLLER_SETTLE_MS", "60001"},
                                    {"NIXERY_CONTROLLER_LEASE", "lease"},
                                    {"NIXERY_CONTROLLER_LEASE", "a/b/c"},
                                    {"NIXERY_LOG_LEVEL", "loud"}}) {
    const auto environment = [name = std::string_view(name), value = value](const char* asked) -> const char* {
      if (std::string_view(asked) == name) return value;
      return std::string_view(asked) == "NIXERY_IMAGES" ? "/images" : nullptr;
    };
    CHECK_THROWS_WITH_AS(load_settings(environment), doctest::Contains(name), Error);
  }
  CHECK_THROWS_WITH_AS(load_settings([](const char*) -> const char* { return nullptr; }),
                       doctest::Contains("NIXERY_IMAGES"), Error);
}
