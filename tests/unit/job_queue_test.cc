#include "jobs/job_queue.h"

#include "pipeline/progress.h"

#include <doctest/doctest.h>

#include <fmt/format.h>

#include <atomic>
#include <latch>
#include <variant>

using namespace nixery;

// The value tells a success from a failure; jobs here have no state.
using JobQueue = jobs::JobQueue<std::string, std::monostate>;
using Job = JobQueue::JobType;
using State = std::monostate;
using Stop = std::stop_token;

namespace {

std::string success() {
  return "done";
}

JobQueue::Result wait_for(const std::shared_ptr<Job>& job) {
  REQUIRE(job->wait_until(std::chrono::steady_clock::now() + std::chrono::hours(1)));
  return *job->result();
}
// A job that stays in the air, and so keeps the one builder, until it may go on. It must outlive the jobs.
struct Held {
  std::latch go{1}, running{1};

  void start(JobQueue& jobs, const std::string& client) {
    jobs.submit(client, "first", [this](State&, const Stop&) {
      running.count_down();
      go.wait();
      return success();
    });
    running.wait();
  }
};

}  // namespace

TEST_CASE("two hundred who ask for one key at once share one job") {
  JobQueue jobs({2, 10, std::chrono::seconds(30)});
  std::atomic<int> builds{0};
  std::latch everybody_joined(201);
  std::vector<std::thread> clients;
  std::atomic<int> landed{0};
  for (int i = 0; i < 200; ++i)
    clients.emplace_back([&] {
      const auto job = jobs.submit("a", "key", [&](State&, const Stop&) {
        ++builds;
        everybody_joined.wait();
        return success();
      });
      everybody_joined.count_down();
      if (wait_for(job).value) ++landed;
    });
  everybody_joined.count_down();
  for (auto& client : clients) client.join();
  CHECK(builds == 1);
  CHECK(landed == 200);
}

TEST_CASE("a failure is remembered for a while, a success and what may pass are not") {
  JobQueue jobs({1, 10, std::chrono::seconds(3600)});
  std::atomic<int> tries{0};
  const auto failing = [&](Failure failure) {
    return [&tries, failure](State&, const Stop&) -> std::string {
      ++tries;
      throw Error(failure, "no");
    };
  };
  const auto run = [&](const std::string& key, const JobQueue::Work& work) {
    const auto result = wait_for(jobs.submit("a", key, work));
    // A job is forgotten after it has landed: wait for that, too.
    while (jobs.running() > 0) std::this_thread::yield();
    return result;
  };
  run("broken", failing(Failure::build_failed));
  CHECK(run("broken", failing(Failure::build_failed)).error->failure() == Failure::build_failed);
  CHECK(tries == 1);
  run("passing", failing(Failure::unavailable));
  run("passing", failing(Failure::unavailable));
  CHECK(tries == 3);
  run("fine", [&](State&, const Stop&) { return ++tries, success(); });
  run("fine", [&](State&, const Stop&) { return ++tries, success(); });
  CHECK(tries == 5);
}

TEST_CASE("whoever hears of what may pass can have another try at once") {
  JobQueue jobs({1, 10, std::chrono::seconds(3600)});
  std::latch go(1);
  jobs::Submission again{};
  const auto work = [&](State&, const Stop&) -> std::string {
    go.wait();
    throw Error(Failure::unavailable, "no");
  };
  jobs.submit("a", "key", work)->on_finished([&] { jobs.submit("a", "key", work, &again); });
  go.count_down();
  jobs.wait_until_idle();
  CHECK(again == jobs::Submission::started);
}

TEST_CASE("with no memory for failures every request tries again") {
  JobQueue jobs({1, 10, std::chrono::seconds(0)});
  std::atomic<int> tries{0};
  for (int i = 0; i < 3; ++i) {
    const auto job = jobs.submit("a", "k", [&](State&, const Stop&) -> std::string {
      throw Error(Failure::build_failed, std::to_string(++tries));
    });
    wait_for(job);
    while (jobs.running() > 0) std::this_thread::yield();
  }
  CHECK(tries == 3);
}

TEST_CASE("a full queue refuses, and says so") {
  std::latch go(1), running(1);
  JobQueue jobs({1, 1, std::chrono::seconds(0)});
  const auto wait = [&](State&, const Stop&) {
    go.wait();
    return success();
  };
  jobs.submit("a", "1", [&](State& state, const Stop& stop) {
    running.count_down();
    return wait(state, stop);
  });
  running.wait();
  jobs.submit("a", "2", wait);
  CHECK_THROWS_AS(jobs.submit("a", "3", wait), Error);
  CHECK_NOTHROW(jobs.submit("a", "2", wait));
  go.count_down();
}

TEST_CASE("clients take turns: one who asks for many images does not keep another's first waiting") {
  std::vector<std::string> runs;
  {
    Held first;
    JobQueue jobs({1, 100, std::chrono::seconds(0)});
    first.start(jobs, "greedy");
    std::mutex mutex;
    const auto note = [&](std::string key) {
      return [&, key](State&, const Stop&) {
        const std::lock_guard lock(mutex);
        runs.push_back(key);
        return success();
      };
    };
    for (int i = 0; i < 5; ++i) jobs.submit("greedy", "g" + std::to_string(i), note("g" + std::to_string(i)));
    jobs.submit("modest", "m0", note("m0"));
    jobs.submit("other", "o0", note("o0"));
    first.go.count_down();
    jobs.wait_until_idle();
  }
  CHECK(runs == std::vector<std::string>{"g0", "m0", "o0", "g1", "g2", "g3", "g4"});
}

TEST_CASE("in a full queue, one who has the most makes room for one who has less") {
  Held first;
  JobQueue jobs({1, 4, std::chrono::seconds(0)});
  first.start(jobs, "greedy");
  const auto work = [](State&, const Stop&) { return success(); };
  std::vector<std::shared_ptr<Job>> greedy;
  for (int i = 0; i < 4; ++i) greedy.push_back(jobs.submit("greedy", "g" + std::to_string(i), work));
  CHECK_THROWS_AS(jobs.submit("greedy", "g4", work), Error);
  const auto modest = jobs.submit("modest", "m0", work);
  REQUIRE(greedy[3]->result());
  CHECK(greedy[3]->result()->error->failure() == Failure::too_busy);
  CHECK_FALSE(greedy[2]->result());
  const auto second = jobs.submit("modest", "m1", work);  // three and one: room is made once more
  CHECK(greedy[2]->result());
  CHECK_THROWS_AS(jobs.submit("modest", "m2", work), Error);  // two and two
  CHECK_NOTHROW(jobs.submit("third", "t0", work));
  first.go.count_down();
  CHECK(wait_for(second).error == nullptr);
}

TEST_CASE("whoever joins a job that waits has a turn of their own for it") {
  std::vector<std::string> runs;
  {
    Held first;
    JobQueue jobs({1, 100, std::chrono::seconds(0)});
    first.start(jobs, "greedy");
    const auto note = [&](std::string key) {
      return [&, key](State&, const Stop&) {
        runs.push_back(key);  // one builder: one at a time
        return success();
      };
    };
    for (int i = 0; i < 4; ++i) jobs.submit("greedy", "g" + std::to_string(i), note("g" + std::to_string(i)));
    for (int hop = 0; hop < 3; ++hop) jobs.submit("modest", "g3", note("another g3"));
    CHECK(jobs.queued() == 4);
    first.go.count_down();
    jobs.wait_until_idle();
  }
  CHECK(runs == std::vector<std::string>{"g0", "g3", "g1", "g2"});
}

TEST_CASE("room is not made of what somebody with less is waiting for, too") {
  Held first;
  JobQueue jobs({1, 4, std::chrono::seconds(0)});
  first.start(jobs, "greedy");
  const auto work = [](State&, const Stop&) { return success(); };
  std::vector<std::shared_ptr<Job>> greedy;
  for (int i = 0; i < 4; ++i) greedy.push_back(jobs.submit("greedy", "g" + std::to_string(i), work));
  jobs.submit("modest", "g3", work);
  jobs.submit("third", "t0", work);
  CHECK_FALSE(greedy[3]->result());
  REQUIRE(greedy[2]->result());
  CHECK(greedy[2]->result()->error->failure() == Failure::too_busy);
  // Two who ask for the same protect nothing by it.
  jobs.submit("accomplice", "g0", work);
  jobs.submit("accomplice", "g1", work);
  CHECK_NOTHROW(jobs.submit("fourth", "f0", work));
  CHECK(greedy[1]->result());
  first.go.count_down();
}

TEST_CASE("of several builders, the last one is for a client that has none") {
  std::latch go(1), running(1);
  JobQueue jobs({2, 1, std::chrono::seconds(0)});
  const auto slow = [&](State&, const Stop&) {
    running.count_down();
    go.wait();
    return success();
  };
  const auto quick = [](State&, const Stop&) { return success(); };
  const auto first = jobs.submit("greedy", "g0", slow);
  running.wait();
  const auto second = jobs.submit("greedy", "g1", quick);
  CHECK(jobs.queued() == 1);
  CHECK(jobs.running() == 1);
  CHECK_THROWS_AS(jobs.submit("greedy", "g2", quick), Error);  // the queue is full, though a builder is free
  CHECK(wait_for(jobs.submit("modest", "m0", quick)).value);
  CHECK_FALSE(first->result());
  CHECK_FALSE(second->result());
  jobs.submit("modest", "g1", quick);  // whoever joins has it runs
  CHECK(wait_for(second).value);
  CHECK_FALSE(first->result());
  go.count_down();
}

TEST_CASE("a free builder is for those with the fewest jobs in the air, and among them for who waited longest") {
  jobs::FairQueue queue;
  for (const char* client : {"a", "b", "c"}) queue.push(client, fmt::format("key of {}", client));
  const jobs::FairQueue::RunningByClient running{{"a", 2}, {"b", 1}, {"c", 1}};
  CHECK_FALSE(queue.pop(running, true));
  CHECK(queue.pop(running, false)->client == "b");
  CHECK(queue.pop(running, false)->client == "c");
  CHECK(queue.pop(running, false)->client == "a");
  CHECK_FALSE(queue.pop(running, false));
}

TEST_CASE("the hook of whoever joins is run on the job's thread before it lands, once for each name") {
  std::latch go(1);
  JobQueue jobs({1, 10, std::chrono::seconds(0)});
  std::thread::id thread;
  std::vector<std::string> run;
  const auto hook = [&](const std::string& name) {
    return JobQueue::CompletionHook{name, [&run, &thread, name](const std::string& result) {
                                      CHECK(result == "done");
                                      CHECK(std::this_thread::get_id() == thread);
                                      run.push_back(name);
                                    }};
  };
  const auto work = [&](State&, const Stop&) {
    thread = std::this_thread::get_id();
    go.wait();
    return success();
  };
  const auto job = jobs.submit("a", "key", work, nullptr, hook("beginner"));
  for (const char* name : {"x", "y", "x"}) CHECK(jobs.submit("a", "key", work, nullptr, hook(name)) == job);
  jobs::Submission late{};
  job->on_finished([&] {
    CHECK(run == std::vector<std::string>{"x", "y"});
    // It has landed but is not forgotten: too late for an hook of it, so this is a job of its own.
    jobs.submit("a", "key", work, &late, hook("z"));
  });
  go.count_down();
  jobs.wait_until_idle();
  CHECK(late == jobs::Submission::started);
  CHECK(run.size() == 2);
}

TEST_CASE("hooks of a job that fails are not run") {
  std::latch go(1);
  JobQueue jobs({1, 10, std::chrono::seconds(0)});
  const auto work = [&](State&, const Stop&) -> std::string {
    go.wait();
    throw Error(Failure::build_failed, "no");
  };
  jobs.submit("a", "key", work);
  const auto job = jobs.submit("a", "key", work, nullptr, {"x", [](const std::string&) { FAIL("run"); }});
  go.count_down();
  CHECK(wait_for(job).error);
}

TEST_CASE("a client is an IPv4 address, or the network that one person has") {
  using jobs::client_of_address;
  CHECK(client_of_address("192.0.2.7") == "192.0.2.7");
  CHECK(client_of_address("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64");
  CHECK(client_of_address("2001:db8:1:2::9") == client_of_address("2001:db8:1:2:ffff::"));
  CHECK(client_of_address("::ffff:192.0.2.7") == "::ffff:192.0.2.7");
  CHECK(client_of_address("") == "");
}

TEST_CASE("whoever waits is told when it lands, also one who comes too late, also when the registry closes") {
  std::atomic<int> rung{0};
  std::shared_ptr<Job> never;
  std::latch go(1);
  {
    JobQueue jobs({1, 10, std::chrono::seconds(0)});
    const auto job = jobs.submit("a", "1", [&](State&, const Stop&) {
      go.wait();
      return success();
    });
    job->on_finished([&] { ++rung; });
    never = jobs.submit("a", "2", [](State&, const Stop&) { return success(); });
    std::thread opener([&] { go.count_down(); });
    wait_for(job);
    job->on_finished([&] { ++rung; });
    opener.join();
  }
  CHECK(rung == 2);
  REQUIRE(never->result());
}

TEST_CASE("an exception that nobody foresaw is a failure, not the end of the worker") {
  JobQueue jobs({1, 10, std::chrono::seconds(0)});
  const auto result =
      wait_for(jobs.submit("a", "1", [](State&, const Stop&) -> std::string { throw std::runtime_error("odd"); }));
  CHECK(result.error->failure() == Failure::storage);
  CHECK(result.error->detail() == "odd");  // for the operator: a stranger is not told
  CHECK(std::string(result.error->what()).find("odd") == std::string::npos);
}

TEST_CASE("what nix prints becomes the step that a waiting person sees") {
  const std::string hash(32, 'a');
  CHECK(pipeline::step_of_nix_line("building '/nix/store/" + hash + "-curl-8.0.drv'...") == "building curl-8.0");
  CHECK(pipeline::step_of_nix_line("copying path '/nix/store/" + hash + "-curl-8.0' from 'https://x'...") ==
        "fetching curl-8.0");
  CHECK(pipeline::step_of_nix_line("make: nothing to be done").empty());
  CHECK(pipeline::step_of_nix_line("building").empty());
}
