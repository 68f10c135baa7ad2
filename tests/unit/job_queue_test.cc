#include "jobs/job_queue.h"

#include "pipeline/progress.h"

#include <doctest/doctest.h>

#include <fmt/format.h>

#include <atomic>
#include <latch>
#include <variant>

using namespace nixery;

// The value distinguishes success and failure; jobs here have no state.
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
// A job that occupies the one worker until `go` is released. Must outlive the queue.
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

TEST_CASE("two hundred callers of one key share one job") {
  JobQueue jobs({2, 10, std::chrono::seconds(30)});
  std::atomic<int> builds{0};
  std::latch everybody_joined(201);
  std::vector<std::thread> clients;
  std::atomic<int> finished{0};
  for (int i = 0; i < 200; ++i)
    clients.emplace_back([&] {
      const auto job = jobs.submit("a", "key", [&](State&, const Stop&) {
        ++builds;
        everybody_joined.wait();
        return success();
      });
      everybody_joined.count_down();
      if (wait_for(job).value) ++finished;
    });
  everybody_joined.count_down();
  for (auto& client : clients) client.join();
  CHECK(builds == 1);
  CHECK(finished == 200);
}

TEST_CASE("failures are cached for a while; successes and transient failures are not") {
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
    // The queue forgets a job after it has finished: wait for that, too.
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

TEST_CASE("a transient failure can be retried at once from its completion callback") {
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

TEST_CASE("with a result lifetime of zero every request tries again") {
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

TEST_CASE("a full queue refuses a further key with too_busy") {
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

TEST_CASE("clients take turns: a client with many jobs does not delay the first of another") {
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

TEST_CASE("a full queue evicts the newest job of the client with the most queued jobs") {
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
  const auto second = jobs.submit("modest", "m1", work);  // three and one: one more is evicted
  CHECK(greedy[2]->result());
  CHECK_THROWS_AS(jobs.submit("modest", "m2", work), Error);  // two and two
  CHECK_NOTHROW(jobs.submit("third", "t0", work));
  first.go.count_down();
  CHECK(wait_for(second).error == nullptr);
}

TEST_CASE("a client that asks for a queued job of another gets a turn of its own for it") {
  std::vector<std::string> runs;
  {
    Held first;
    JobQueue jobs({1, 100, std::chrono::seconds(0)});
    first.start(jobs, "greedy");
    const auto note = [&](std::string key) {
      return [&, key](State&, const Stop&) {
        runs.push_back(key);  // one worker: one at a time
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

TEST_CASE("a job that a client with fewer jobs also waits for is not evicted") {
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
  // Two clients that wait for the same job do not protect it.
  jobs.submit("accomplice", "g0", work);
  jobs.submit("accomplice", "g1", work);
  CHECK_NOTHROW(jobs.submit("fourth", "f0", work));
  CHECK(greedy[1]->result());
  first.go.count_down();
}

TEST_CASE("the last of several workers is reserved for a client with no running job") {
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
  CHECK_THROWS_AS(jobs.submit("greedy", "g2", quick), Error);  // the queue is full, although a worker is free
  CHECK(wait_for(jobs.submit("modest", "m0", quick)).value);
  CHECK_FALSE(first->result());
  CHECK_FALSE(second->result());
  jobs.submit("modest", "g1", quick);  // the other client's turn starts it
  CHECK(wait_for(second).value);
  CHECK_FALSE(first->result());
  go.count_down();
}

TEST_CASE(
    "the next job is of the client with the fewest running jobs, and among these of the one that waited longest") {
  jobs::FairQueue queue;
  for (const char* client : {"a", "b", "c"}) queue.push(client, fmt::format("key of {}", client));
  jobs::ClientShares running;
  for (const char* client : {"a", "a", "b", "c"}) running.add(client);
  CHECK_FALSE(queue.pop(running, true));
  CHECK(queue.pop(running, false)->client == "b");
  CHECK(queue.pop(running, false)->client == "c");
  CHECK(queue.pop(running, false)->client == "a");
  CHECK_FALSE(queue.pop(running, false));
}

TEST_CASE("completion hooks of coalesced callers run on the job's thread before it finishes, once for each name") {
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
    // It has finished but is not forgotten: too late for a hook, so this starts another job.
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

TEST_CASE("a client gives up a slot only to a client that then has no more slots") {
  jobs::ClientShares shares;
  CHECK(shares.above_share_of("a").empty());
  for (const char* client : {"a", "b", "b", "c", "c", "c", "c"}) shares.add(client);
  CHECK(shares.total() == 7);
  CHECK(shares.above_share_of("new") == std::vector<std::string>{"c", "b"});
  CHECK(shares.above_share_of("a") == std::vector<std::string>{"c"});
  CHECK(shares.above_share_of("b") == std::vector<std::string>{"c"});
  CHECK(shares.above_share_of("c").empty());
  shares.remove("c");
  CHECK(shares.above_share_of("b").empty());
  CHECK(shares.of("c") == 3);
  for (int i = 0; i < 5; ++i) shares.remove("c");  // more than it has
  CHECK(shares.of("c") == 0);
  CHECK(shares.total() == 3);
}

TEST_CASE("a client is an IPv4 address, or an IPv6 /64 network") {
  using jobs::client_of_address;
  CHECK(client_of_address("192.0.2.7") == "192.0.2.7");
  CHECK(client_of_address("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64");
  CHECK(client_of_address("2001:db8:1:2::9") == client_of_address("2001:db8:1:2:ffff::"));
  CHECK(client_of_address("::ffff:192.0.2.7") == "::ffff:192.0.2.7");
  CHECK(client_of_address("") == "");
}

TEST_CASE("a callback is called when a job finishes, when it has finished, and when the queue is destroyed") {
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

TEST_CASE("an unforeseen exception fails the job and not the worker") {
  JobQueue jobs({1, 10, std::chrono::seconds(0)});
  const auto result =
      wait_for(jobs.submit("a", "1", [](State&, const Stop&) -> std::string { throw std::runtime_error("odd"); }));
  CHECK(result.error->failure() == Failure::storage);
  CHECK(result.error->detail() == "odd");  // for the operator, not for clients
  CHECK(std::string(result.error->what()).find("odd") == std::string::npos);
}

TEST_CASE("nix's output becomes the step that waiting users see") {
  const std::string hash(32, 'a');
  CHECK(pipeline::step_of_nix_line("building '/nix/store/" + hash + "-curl-8.0.drv'...") == "building curl-8.0");
  CHECK(pipeline::step_of_nix_line("copying path '/nix/store/" + hash + "-curl-8.0' from 'https://x'...") ==
        "fetching curl-8.0");
  CHECK(pipeline::step_of_nix_line("make: nothing to be done").empty());
  CHECK(pipeline::step_of_nix_line("building").empty());
}
