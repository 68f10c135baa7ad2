#include "doctor/worker.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <string_view>

#include "config.h"
#include "os/file.h"
#include "text/ascii.h"

namespace nixery::doctor {

namespace {

// Empty if the process has ended, or is not ours to look at.
std::string text_of(const fs::path& file) {
  return os::read_if_readable(file).value_or("");
}

// "NAME=value" of a block of texts that each end with a NUL.
std::string value_in(std::string_view block, std::string_view name) {
  const std::string wanted = fmt::format("{}=", name);
  while (!block.empty()) {
    const std::string_view entry = block.substr(0, block.find('\0'));
    block.remove_prefix(std::min(block.size(), entry.size() + 1));
    if (entry.starts_with(wanted)) return std::string(entry.substr(wanted.size()));
  }
  return {};
}

std::optional<Worker> running_worker(const fs::path& state) {
  std::error_code ignored;
  for (const auto& process : fs::directory_iterator("/proc", ignored)) {
    const std::string pid = process.path().filename();
    if (!text::all(pid, text::is_digit) || text_of(process.path() / "comm") != "nixery\n") continue;
    const std::string arguments = text_of(process.path() / "cmdline");
    if (arguments.find(std::string_view("\0serve", 6)) == arguments.npos) continue;
    const std::string environment = text_of(process.path() / "environ");
    if (environment.empty()) continue;
    const std::string given = value_in(environment, "NIXERY_STATE");
    if (fs::path(given.empty() ? default_state : given).lexically_normal() != state.lexically_normal()) continue;
    struct stat status {};
    if (stat(process.path().c_str(), &status) != 0) continue;
    return Worker{os::user_of(status.st_uid), fmt::format("as process {} does", pid)};
  }
  return std::nullopt;
}

}  // namespace

Worker find_worker(const fs::path& state, const std::optional<ServiceUnit>& unit) {
  const os::User we = os::current_user();
  if (auto running = running_worker(state)) return *std::move(running);
  if (unit) {
    const std::string name = unit->user.empty() ? "root" : unit->user;
    if (auto user = os::user_named(name)) return {*std::move(user), fmt::format("as {} says", unit_name)};
  }
  struct stat status {};
  if (stat(state.c_str(), &status) == 0) {
    if (status.st_uid != we.uid)
      return {os::user_of(status.st_uid), fmt::format("as {} belongs to that user", state.string())};
  } else if (we.uid == 0) {
    if (auto user = os::user_named("nixery")) return {*std::move(user), "as there is such a user"};
  }
  return {we, {}};
}

}  // namespace nixery::doctor
