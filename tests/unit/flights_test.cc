#include "build/flights.h"

#include <doctest/doctest.h>

#include <latch>
#include <set>

using namespace nixery;
using build::Flights;
using build::Landing;
using build::Progress;

namespace {

Landing success() {
  return {image::Digest::of("x"), "r", false, nullptr};
}
// A flight that stays in the air, and so keeps the one builder, until it may go on. It must outlive the flights.
struct Held {
  std::latch go{1}, flying{1};

  void take_off(Flights& flights, const std::string& client) {
    flights.join(client, "first", [this](Progress&) {
      flying.count_down();
      go.wait();
      return success();
    });
    flying.wait();
  }
};

const auto far = std::chrono::steady_clock::now() + std::chrono::hours(1);

}  // namespace

TEST_CASE("two hundred who ask for one key at once share one flight") {
  Flights flights({2, 10, std::chrono::seconds(30)});
  std::atomic<int> builds{0};
  std::latch everybody_joined(201);
  std::vector<std::thread> clients;
  std::atomic<int> landed{0};
  for (int i = 0; i < 200; ++i)
    clients.emplace_back([&] {
      const auto flight = flights.join("a", "key", [&](Progress&) {
        ++builds;
        everybody_joined.wait();
        return success();
      });
      everybody_joined.count_down();
      if (flight->wait_until(far)->digest) ++landed;
    });
  everybody_joined.count_down();
  for (auto& client : clients) client.join();
  CHECK(builds == 1);
  CHECK(landed == 200);
}

TEST_CASE("a failure is remembered for a while, a success and what may pass are not") {
  Flights flights({1, 10, std::chrono::seconds(3600)});
  std::atomic<int> tries{0};
  const auto failing = [&](Failure failure) {
    return [&tries, failure](Progress&) -> Landing {
      ++tries;
      throw Error(failure, "no");
    };
  };
  const auto fly = [&](const std::string& key, const build::Work& work) {
    const auto landing = *flights.join("a", key, work)->wait_until(far);
    // A flight is forgotten after it has landed: wait for that, too.
    while (flights.in_the_air() > 0) std::this_thread::yield();
    return landing;
  };
  fly("broken", failing(Failure::build_failed));
  CHECK(fly("broken", failing(Failure::build_failed)).error->failure() == Failure::build_failed);
  CHECK(tries == 1);
  fly("passing", failing(Failure::unavailable));
  fly("passing", failing(Failure::unavailable));
  CHECK(tries == 3);
  fly("fine", [&](Progress&) { return ++tries, success(); });
  fly("fine", [&](Progress&) { return ++tries, success(); });
  CHECK(tries == 5);
}

TEST_CASE("whoever hears of what may pass can have another try at once") {
  Flights flights({1, 10, std::chrono::seconds(3600)});
  std::latch go(1);
  build::Joining again{};
  const auto work = [&](Progress&) -> Landing {
    go.wait();
    throw Error(Failure::unavailable, "no");
  };
  flights.join("a", "key", work)->on_landing([&] { flights.join("a", "key", work, &again); });
  go.count_down();
  flights.wait_until_idle();
  CHECK(again == build::Joining::began);
}

TEST_CASE("with no memory for failures every request tries again") {
  Flights flights({1, 10, std::chrono::seconds(0)});
  std::atomic<int> tries{0};
  for (int i = 0; i < 3; ++i) {
    const auto flight = flights.join(
        "a", "k", [&](Progress&) -> Landing { throw Error(Failure::build_failed, std::to_string(++tries)); });
    flight->wait_until(far);
    while (flights.in_the_air() > 0) std::this_thread::yield();
  }
  CHECK(tries == 3);
}

TEST_CASE("a full queue refuses, and says so") {
  std::latch go(1), flying(1);
  Flights flights({1, 1, std::chrono::seconds(0)});
  const auto wait = [&](Progress&) {
    go.wait();
    return success();
  };
  flights.join("a", "1", [&](Progress& progress) {
    flying.count_down();
    return wait(progress);
  });
  flying.wait();
  flights.join("a", "2", wait);
  CHECK_THROWS_AS(flights.join("a", "3", wait), Error);
  CHECK_NOTHROW(flights.join("a", "2", wait));
  go.count_down();
}

TEST_CASE("clients take turns: one who asks for many images does not keep another's first waiting") {
  std::vector<std::string> flown;
  {
    Held first;
    Flights flights({1, 100, std::chrono::seconds(0)});
    first.take_off(flights, "greedy");
    std::mutex mutex;
    const auto note = [&](std::string key) {
      return [&, key](Progress&) {
        const std::lock_guard lock(mutex);
        flown.push_back(key);
        return success();
      };
    };
    for (int i = 0; i < 5; ++i) flights.join("greedy", "g" + std::to_string(i), note("g" + std::to_string(i)));
    flights.join("modest", "m0", note("m0"));
    flights.join("other", "o0", note("o0"));
    first.go.count_down();
    flights.wait_until_idle();
  }
  CHECK(flown == std::vector<std::string>{"g0", "m0", "o0", "g1", "g2", "g3", "g4"});
}

TEST_CASE("in a full queue, one who has the most makes room for one who has less") {
  Held first;
  Flights flights({1, 4, std::chrono::seconds(0)});
  first.take_off(flights, "greedy");
  const auto work = [](Progress&) { return success(); };
  std::vector<std::shared_ptr<build::Flight>> greedy;
  for (int i = 0; i < 4; ++i) greedy.push_back(flights.join("greedy", "g" + std::to_string(i), work));
  CHECK_THROWS_AS(flights.join("greedy", "g4", work), Error);
  const auto modest = flights.join("modest", "m0", work);
  REQUIRE(greedy[3]->landing());
  CHECK(greedy[3]->landing()->error->failure() == Failure::too_busy);
  CHECK_FALSE(greedy[2]->landing());
  const auto second = flights.join("modest", "m1", work);  // three and one: room is made once more
  CHECK(greedy[2]->landing());
  CHECK_THROWS_AS(flights.join("modest", "m2", work), Error);  // two and two
  CHECK_NOTHROW(flights.join("third", "t0", work));
  first.go.count_down();
  CHECK(second->wait_until(far)->error == nullptr);
}

TEST_CASE("whoever joins a flight that waits has a turn of their own for it") {
  std::vector<std::string> flown;
  {
    Held first;
    Flights flights({1, 100, std::chrono::seconds(0)});
    first.take_off(flights, "greedy");
    const auto note = [&](std::string key) {
      return [&, key](Progress&) {
        flown.push_back(key);  // one builder: one at a time
        return success();
      };
    };
    for (int i = 0; i < 4; ++i) flights.join("greedy", "g" + std::to_string(i), note("g" + std::to_string(i)));
    for (int hop = 0; hop < 3; ++hop) flights.join("modest", "g3", note("another g3"));
    CHECK(flights.queued() == 4);
    first.go.count_down();
    flights.wait_until_idle();
  }
  CHECK(flown == std::vector<std::string>{"g0", "g3", "g1", "g2"});
}

TEST_CASE("room is not made of what somebody with less is waiting for, too") {
  Held first;
  Flights flights({1, 4, std::chrono::seconds(0)});
  first.take_off(flights, "greedy");
  const auto work = [](Progress&) { return success(); };
  std::vector<std::shared_ptr<build::Flight>> greedy;
  for (int i = 0; i < 4; ++i) greedy.push_back(flights.join("greedy", "g" + std::to_string(i), work));
  flights.join("modest", "g3", work);
  flights.join("third", "t0", work);
  CHECK_FALSE(greedy[3]->landing());
  REQUIRE(greedy[2]->landing());
  CHECK(greedy[2]->landing()->error->failure() == Failure::too_busy);
  // Two who ask for the same protect nothing by it.
  flights.join("accomplice", "g0", work);
  flights.join("accomplice", "g1", work);
  CHECK_NOTHROW(flights.join("fourth", "f0", work));
  CHECK(greedy[1]->landing());
  first.go.count_down();
}

TEST_CASE("of several builders, the last one is for a client that has none") {
  std::latch go(1), flying(1);
  Flights flights({2, 1, std::chrono::seconds(0)});
  const auto slow = [&](Progress&) {
    flying.count_down();
    go.wait();
    return success();
  };
  const auto quick = [](Progress&) { return success(); };
  const auto first = flights.join("greedy", "g0", slow);
  flying.wait();
  const auto second = flights.join("greedy", "g1", quick);
  CHECK(flights.queued() == 1);
  CHECK(flights.in_the_air() == 1);
  CHECK_THROWS_AS(flights.join("greedy", "g2", quick), Error);  // the queue is full, though a builder is free
  CHECK(flights.join("modest", "m0", quick)->wait_until(far)->digest);
  CHECK_FALSE(first->landing());
  CHECK_FALSE(second->landing());
  flights.join("modest", "g1", quick);  // whoever joins has it flown
  CHECK(second->wait_until(far)->digest);
  CHECK_FALSE(first->landing());
  go.count_down();
}

TEST_CASE("a free builder is for those with the fewest flights in the air, and among them for who waited longest") {
  build::FairQueue queue;
  const auto flight = [](const char* key) { return std::make_shared<build::Flight>(key, build::Work()); };
  for (const char* client : {"a", "b", "c"}) queue.push(client, flight(client));
  const build::FairQueue::InTheAir in_the_air{{"a", 2}, {"b", 1}, {"c", 1}};
  CHECK_FALSE(queue.pop(in_the_air, true));
  CHECK(queue.pop(in_the_air, false)->client == "b");
  CHECK(queue.pop(in_the_air, false)->client == "c");
  CHECK(queue.pop(in_the_air, false)->client == "a");
  CHECK_FALSE(queue.pop(in_the_air, false));
}

TEST_CASE("the errand of whoever joins is run on the flight's thread before it lands, once for each name") {
  std::latch go(1);
  Flights flights({1, 10, std::chrono::seconds(0)});
  std::thread::id thread;
  std::vector<std::string> run;
  const auto errand = [&](const std::string& name) {
    return build::Errand{name, [&run, &thread, name](const Landing& landing) {
                           CHECK(landing.digest);
                           CHECK(std::this_thread::get_id() == thread);
                           run.push_back(name);
                         }};
  };
  const auto work = [&](Progress&) {
    thread = std::this_thread::get_id();
    go.wait();
    return success();
  };
  const auto flight = flights.join("a", "key", work, nullptr, errand("beginner"));
  for (const char* name : {"x", "y", "x"}) CHECK(flights.join("a", "key", work, nullptr, errand(name)) == flight);
  build::Joining late{};
  flight->on_landing([&] {
    CHECK(run == std::vector<std::string>{"x", "y"});
    // It has landed but is not forgotten: too late for an errand of it, so this is a flight of its own.
    flights.join("a", "key", work, &late, errand("z"));
  });
  go.count_down();
  flights.wait_until_idle();
  CHECK(late == build::Joining::began);
  CHECK(run.size() == 2);
}

TEST_CASE("errands of a flight that fails are not run") {
  std::latch go(1);
  Flights flights({1, 10, std::chrono::seconds(0)});
  const auto work = [&](Progress&) -> Landing {
    go.wait();
    throw Error(Failure::build_failed, "no");
  };
  flights.join("a", "key", work);
  const auto flight = flights.join("a", "key", work, nullptr, {"x", [](const Landing&) { FAIL("run"); }});
  go.count_down();
  CHECK(flight->wait_until(far)->error);
}

TEST_CASE("a client is an IPv4 address, or the network that one person has") {
  using build::client_of_address;
  CHECK(client_of_address("192.0.2.7") == "192.0.2.7");
  CHECK(client_of_address("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64");
  CHECK(client_of_address("2001:db8:1:2::9") == client_of_address("2001:db8:1:2:ffff::"));
  CHECK(client_of_address("::ffff:192.0.2.7") == "::ffff:192.0.2.7");
  CHECK(client_of_address("") == "");
}

TEST_CASE("whoever waits is told when it lands, also one who comes too late, also when the registry closes") {
  std::atomic<int> rung{0};
  std::shared_ptr<build::Flight> never;
  std::latch go(1);
  {
    Flights flights({1, 10, std::chrono::seconds(0)});
    const auto flight = flights.join("a", "1", [&](Progress&) {
      go.wait();
      return success();
    });
    flight->on_landing([&] { ++rung; });
    never = flights.join("a", "2", [](Progress&) { return success(); });
    std::thread opener([&] { go.count_down(); });
    flight->wait_until(far);
    flight->on_landing([&] { ++rung; });
    opener.join();
  }
  CHECK(rung == 2);
  REQUIRE(never->landing());
}

TEST_CASE("an exception that nobody foresaw is a failure, not the end of the worker") {
  Flights flights({1, 10, std::chrono::seconds(0)});
  const auto landing =
      flights.join("a", "1", [](Progress&) -> Landing { throw std::runtime_error("odd"); })->wait_until(far);
  CHECK(landing->error->failure() == Failure::storage);
  CHECK(landing->error->detail() == "odd");  // for the operator: a stranger is not told
  CHECK(std::string(landing->error->what()).find("odd") == std::string::npos);
}

TEST_CASE("what nix prints becomes the step that a waiting person sees") {
  const std::string hash(32, 'a');
  CHECK(build::step_of_nix_line("building '/nix/store/" + hash + "-curl-8.0.drv'...") == "building curl-8.0");
  CHECK(build::step_of_nix_line("copying path '/nix/store/" + hash + "-curl-8.0' from 'https://x'...") ==
        "fetching curl-8.0");
  CHECK(build::step_of_nix_line("make: nothing to be done").empty());
  CHECK(build::step_of_nix_line("building").empty());
}
