#include "os/process.h"

#include <doctest/doctest.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "error.h"
#include "os/fd.h"

using namespace nixery;
using os::Command;
using os::ProcessResult;

namespace {

ProcessResult shell(std::string script, std::optional<std::chrono::seconds> limit = {}) {
  Command command;
  command.argv = {"sh", "-c", std::move(script)};
  command.limit = limit;
  return os::run(command);
}

// Killed and orphaned: gone once init has reaped it.
bool ends(pid_t pid) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (kill(pid, 0) == 0 && std::chrono::steady_clock::now() < deadline) {
    std::string state = shell("sed 's/.*) //' /proc/" + std::to_string(pid) + "/stat 2>/dev/null | cut -c1").output;
    if (state.empty() || state == "Z\n") return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return kill(pid, 0) != 0;
}

}  // namespace

TEST_CASE("output, exit status and standard error are separate") {
  const auto outcome = shell("echo out; echo err >&2; exit 3");
  CHECK(outcome.output == "out\n");
  CHECK(outcome.error_tail == "err\n");
  CHECK(outcome.code == 3);
  CHECK_FALSE(outcome.ok());
}

TEST_CASE("a child that fills both pipes is read to its end") {
  const auto outcome = shell("head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero; head -c 300000 /dev/zero >&2");
  CHECK(outcome.ok());
  CHECK(outcome.output.size() == 3'000'000);
  CHECK(outcome.error_tail.size() == 64 << 10);
}

TEST_CASE("a child killed by a signal says which") {
  const auto outcome = shell("kill -SEGV $$");
  CHECK(outcome.end == ProcessResult::End::signalled);
  CHECK(outcome.code == SIGSEGV);
  CHECK(outcome.describe().find("signal 11") != std::string::npos);
}

TEST_CASE("over its limit, the whole process group is killed") {
  // Long enough for the shell to print its child's id on a busy machine.
  ProcessResult outcome;
  for (std::chrono::seconds limit{1}; outcome.output.empty() && limit < std::chrono::minutes(2); limit *= 4) {
    outcome = shell("sleep 600 & echo $!; sleep 600", limit);
    CHECK(outcome.end == ProcessResult::End::timed_out);
  }
  REQUIRE_FALSE(outcome.output.empty());
  CHECK(ends(static_cast<pid_t>(std::stol(outcome.output))));
}

TEST_CASE("the limit also holds for a child that has closed its outputs") {
  CHECK(shell("exec >&- 2>&-; sleep 600", std::chrono::seconds(1)).end == ProcessResult::End::timed_out);
}

TEST_CASE("a child that is stopped can clean up, and one that does not end is killed") {
  Command command;
  std::stop_source stop;
  command.stop = stop.get_token();
  command.argv = {"sh", "-c", "trap 'echo cleaned; exit 0' TERM; echo ready >&2; while :; do sleep 0.1; done"};
  command.on_error_line = [&](std::string_view) { stop.request_stop(); };
  const auto cleaned = os::run(command);
  CHECK(cleaned.end == ProcessResult::End::stopped);
  CHECK(cleaned.output == "cleaned\n");

  command.stop = {};
  command.argv = {"sh", "-c", "trap '' TERM; echo $$; echo ready >&2; while :; do sleep 600; done"};
  std::stop_source other;
  command.stop = other.get_token();
  command.on_error_line = [&](std::string_view) { other.request_stop(); };
  const auto stubborn = os::run(command);
  CHECK(stubborn.end == ProcessResult::End::stopped);
  CHECK(ends(static_cast<pid_t>(std::stol(stubborn.output))));
}

TEST_CASE("the rest of a child's process group ends with it") {
  const auto outcome = shell("sleep 600 & echo $!");
  REQUIRE(outcome.ok());
  CHECK(ends(static_cast<pid_t>(std::stol(outcome.output))));
}

TEST_CASE("a stop request ends the child") {
  std::stop_source stop;
  std::thread stopper([&] { stop.request_stop(); });
  Command command;
  command.argv = {"sleep", "600"};
  command.stop = stop.get_token();
  CHECK(os::run(command).end == ProcessResult::End::stopped);
  stopper.join();
}

TEST_CASE("a child can be watched with the last eight descriptors") {
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit few{64, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
  std::vector<os::Fd> taken;
  for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken.emplace_back(fd);
  REQUIRE(errno == EMFILE);
  REQUIRE(taken.size() > 8);
  taken.resize(taken.size() - 8);
  const auto outcome = shell("sleep 600", std::chrono::seconds(1));
  taken.clear();
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(outcome.end == ProcessResult::End::timed_out);
}

TEST_CASE("a child that cannot be watched is an error, not an endless wait") {
  // For this thread and its children only: no pidfd_open, as on an old kernel.
  std::string said;
  std::thread([&] {
    sock_filter steps[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
                           {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_pidfd_open},
                           {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS},
                           {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
    const sock_fprog filter{4, steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
      said = "no filter";
      return;
    }
    try {
      shell("sleep 600", std::chrono::seconds(1));
    } catch (const Error& error) {
      said = error.what();
    }
  }).join();
  CHECK(said == "cannot watch a process: Function not implemented");
}

TEST_CASE("more output than allowed is an error, not a lack of memory") {
  Command command;
  command.argv = {"sh", "-c", "yes"};
  command.output_limit = 1 << 20;
  CHECK(os::run(command).end == ProcessResult::End::output_too_large);
}

TEST_CASE("standard error comes line by line, the last one without its newline too") {
  std::vector<std::string> lines;
  Command command;
  command.argv = {"sh", "-c", "printf 'one\\ntwo\\n\\nlast' >&2"};
  command.on_error_line = [&](std::string_view line) { lines.emplace_back(line); };
  CHECK(os::run(command).ok());
  CHECK(lines == std::vector<std::string>{"one", "two", "", "last"});
}

TEST_CASE("input reaches the child, even if it is larger than a pipe or the child does not read it") {
  Command command;
  command.argv = {"wc", "-c"};
  command.input = std::string(1'000'000, 'x');
  CHECK(os::run(command).output == "1000000\n");
  command.argv = {"true"};
  CHECK(os::run(command).ok());
}

TEST_CASE("environment is added and removed") {
  setenv("TEST_OURS", "ours", 1);
  Command command;
  command.argv = {"sh", "-c", "echo $TEST_ADDED ${TEST_OURS-gone}"};
  command.env = {{"TEST_ADDED", "added"}};
  CHECK(os::run(command).output == "added ours\n");
  command.env["TEST_OURS"] = "";
  CHECK(os::run(command).output == "added gone\n");
}

TEST_CASE("a missing program is an error that names it") {
  Command command;
  command.argv = {"no-such-program-here"};
  CHECK_THROWS_WITH_AS(os::run(command), doctest::Contains("no-such-program-here"), Error);
}

TEST_CASE("arguments are never interpreted by a shell") {
  Command command;
  command.argv = {"echo", "$(id) `id` ; id", "a b"};
  CHECK(os::run(command).output == "$(id) `id` ; id a b\n");
}

TEST_CASE("a child gets our environment but for our own settings, which may be long or secret") {
  setenv("NIXERY_BLOCKED", std::string(200'000, 'x').c_str(), 1);
  setenv("NIXERY_PKGS_REPO", "https://user:secret@host/x", 1);
  setenv("OTHER_VARIABLE", "stays", 1);
  const auto outcome = shell("env");
  for (const char* name : {"NIXERY_BLOCKED", "NIXERY_PKGS_REPO", "OTHER_VARIABLE"}) unsetenv(name);
  REQUIRE(outcome.ok());
  CHECK(outcome.output.find("OTHER_VARIABLE=stays\n") != std::string::npos);
  CHECK(outcome.output.find("NIXERY_") == std::string::npos);
}
