#include "doctor/checkup.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

namespace nixery::doctor {

namespace {

// The operations of a check have the same deadline, and their error messages say more.
constexpr std::chrono::seconds last_words{1};

struct Board {
  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::vector<std::optional<std::vector<Finding>>> results;
  std::size_t missing = 0;
};

std::vector<Finding> findings_of(const Check& check) {
  try {
    return check.run();
  } catch (const std::exception& error) {
    return {failure(check.name, error.what(), "see what the message names")};
  }
}

// Each child is the leader of its own group (os/process.h).
void kill_children() {
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    std::ifstream children(task.path() / "children");
    for (pid_t pid = 0; children >> pid;) kill(-pid, SIGKILL);
  }
}

}  // namespace

Checkup run_checks(std::vector<Check> checks, std::chrono::seconds deadline) {
  const auto board = std::make_shared<Board>();
  board->results.resize(checks.size());
  board->missing = checks.size();
  std::vector<std::string> names;
  for (std::size_t i = 0; i < checks.size(); ++i) {
    names.push_back(checks[i].name);
    std::thread([board, i, check = std::move(checks[i])] {
      auto findings = findings_of(check);
      const std::lock_guard lock(board->mutex);
      board->results[i] = std::move(findings);
      --board->missing;
      board->changed.notify_all();
    }).detach();
  }

  Checkup checkup;
  std::unique_lock lock(board->mutex);
  board->changed.wait_for(lock, deadline + last_words, [&] { return board->missing == 0; });
  checkup.overdue = board->missing > 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (board->results[i])
      for (Finding& finding : *board->results[i]) checkup.findings.push_back(std::move(finding));
    else
      checkup.findings.push_back(
          failure(names[i], fmt::format("no answer within {} s", deadline.count()),
                  "find out what hangs, or wait longer with --deadline; a network file system or name server is often "
                  "the reason"));
  }
  return checkup;
}

void finish(int status) {
  kill_children();
  std::fflush(nullptr);
  _exit(status);
}

}  // namespace nixery::doctor
