#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "nix/nix.h"
#include "os/file.h"
#include "os/process.h"

namespace nixery::nix {

namespace {

constexpr std::size_t log_lines_shown = 10;
constexpr std::size_t paths_per_command = 1000;  // stays far below ARG_MAX
constexpr std::chrono::seconds answer_limit{10};

// What `nix-store --realise` says by its status, each bit a finding (nix-store(1), "Exit status").
constexpr int failed = 100, build_timeout_bit = 1;

std::string last_lines(std::string_view text, std::size_t count) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  std::size_t start = text.size();
  for (; count > 0 && start != text.npos && start > 0; --count) start = text.rfind('\n', start - 1);
  return std::string(start == text.npos || start == 0 ? text : text.substr(start + 1));
}

Error realise_error(const os::Outcome& outcome, std::chrono::seconds limit) {
  const std::string& log = outcome.error_tail;
  const std::string end = last_lines(log, log_lines_shown);
  const auto mentions = [&](std::string_view text) { return log.find(text) != log.npos; };
  const std::string said = error_message(log);
  if (outcome.end != os::Outcome::End::exited)
    return Error(Failure::unavailable, fmt::format("the build was cut off: nix-store {}", outcome.describe()), end);
  if (mentions("timed out after") || (outcome.code >= failed && ((outcome.code - failed) & build_timeout_bit)))
    return Error(Failure::timed_out,
                 fmt::format("the build took longer than {} s and was stopped: {}", limit.count(), said), end);
  if (mentions("is required to build") || (mentions("required system or feature") && mentions("not available")))
    return Error(Failure::unsupported_platform, fmt::format("nobody here can build for that platform: {}", said), end);
  // A builder that was killed fell to an operator, or to a kernel that ran out of memory.
  const auto passing = {"cannot connect to",      "unable to download",     "Temporary failure",
                        "Could not resolve",      "database is busy",       "cannot open connection",
                        "failed due to signal 9", "failed due to signal 15"};
  if ((outcome.code < failed && cut_off(log)) || lacks_disk(log) ||
      std::any_of(passing.begin(), passing.end(), mentions))
    return Error(Failure::unavailable, fmt::format("nix cannot build now: {}", said), end);
  if (outcome.code >= failed || mentions("builder for"))
    return Error(Failure::build_failed, fmt::format("the build failed: {}", said), end);
  return Error(Failure::build_failed, fmt::format("nix could not realise the packages: {}", said), end);
}

void run_realise(const NixSettings& settings, std::vector<std::string> arguments, const Attendance& attendance) {
  os::Command command;
  command.argv = {"nix-store", "--realise", "--timeout", fmt::format("{}", settings.build_limit.count())};
  if (settings.substitute_only)
    command.argv.insert(command.argv.end(), {"--max-jobs", "0", "--option", "builders", ""});
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  command.env = {{"LC_ALL", "C"}};
  command.stop = attendance.stop;
  command.on_error_line = attendance.on_line;
  const os::Outcome outcome = os::run(command);
  if (!outcome.ok()) throw realise_error(outcome, settings.build_limit);
}

// "/nix/store/…-curl.drv!bin,out"
std::string wanted_outputs(const Package& package) {
  std::string outputs;
  for (const Output& output : package.outputs) outputs += (outputs.empty() ? "" : ",") + output.name;
  return package.drv_path + "!" + outputs;
}

std::string query(const std::vector<std::string>& options, const std::vector<std::string>& paths,
                  const std::atomic<bool>* stop) {
  std::string output;
  for (std::size_t start = 0; start < paths.size(); start += paths_per_command) {
    os::Command command;
    command.argv = {"nix-store"};
    command.argv.insert(command.argv.end(), options.begin(), options.end());
    const auto first = paths.begin() + static_cast<std::ptrdiff_t>(start);
    command.argv.insert(command.argv.end(), first,
                        first + static_cast<std::ptrdiff_t>(std::min(paths_per_command, paths.size() - start)));
    command.stop = stop;
    const os::Outcome outcome = os::run(command);
    if (!outcome.ok())
      throw Error(Failure::unavailable,
                  fmt::format("nix-store {}: {}", outcome.describe(), error_message(outcome.error_tail)),
                  outcome.error_tail);
    output += outcome.output;
  }
  return output;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t start = 0, end; (end = text.find('\n', start)) != text.npos; start = end + 1)
    lines.emplace_back(text.substr(start, end - start));
  return lines;
}

}  // namespace

Missing missing_for(const std::vector<const Package*>& packages, const std::atomic<bool>* stop) {
  os::Command command;
  command.argv = {"nix-store", "--realise", "--dry-run"};
  for (const Package* package : packages) command.argv.push_back(wanted_outputs(*package));
  command.env = {{"LC_ALL", "C"}};
  command.stop = stop;
  Missing missing;
  std::vector<std::string>* listed = nullptr;
  command.on_error_line = [&](std::string_view line) {
    // "these 2 derivations will be built:", "this path will be fetched (1.00 MiB download, 2.00 MiB unpacked):"
    if (line.ends_with("will be built:")) {
      listed = &missing.to_build;
    } else if (line.find("will be fetched") != line.npos) {
      listed = &missing.to_fetch;
      const auto open = line.find('('), close = line.find(')');
      if (open != line.npos && close != line.npos) missing.download = line.substr(open + 1, close - open - 1);
    } else if (line.starts_with("  /") && listed) {
      listed->emplace_back(line.substr(2));
    } else {
      listed = nullptr;
    }
  };
  const os::Outcome outcome = os::run(command);
  if (!outcome.ok())
    throw Error(Failure::unavailable,
                fmt::format("nix-store {}: {}", outcome.describe(), error_message(outcome.error_tail)));
  return missing;
}

void realise(const NixSettings& settings, const std::vector<const Package*>& packages, const fs::path& root,
             const Attendance& attendance) {
  os::make_directories(root.parent_path());
  std::vector<std::string> arguments = {"--add-root", root.string(), "--indirect"};
  for (const Package* package : packages) arguments.push_back(wanted_outputs(*package));
  run_realise(settings, std::move(arguments), attendance);
}

void realise_paths(const NixSettings& settings, const std::vector<store::StorePath>& paths,
                   const Attendance& attendance) {
  std::vector<std::string> arguments;
  for (const store::StorePath& path : paths) arguments.push_back(path.str());
  run_realise(settings, std::move(arguments), attendance);
}

std::vector<store::StorePath> valid_of(const std::vector<store::StorePath>& paths, const std::atomic<bool>* stop) {
  std::vector<std::string> asked;
  for (const store::StorePath& path : paths) asked.push_back(path.str());
  const auto invalid = lines_of(query({"--check-validity", "--print-invalid"}, asked, stop));
  std::vector<store::StorePath> valid;
  for (std::size_t i = 0; i < paths.size(); ++i)
    if (std::find(invalid.begin(), invalid.end(), asked[i]) == invalid.end()) valid.push_back(paths[i]);
  return valid;
}

void check_store(const std::atomic<bool>* stop) {
  os::Command command;
  command.argv = {"nix-store", "--check-validity", "--print-invalid",
                  fmt::format("{}/00000000000000000000000000000000-nothing", store::store_dir)};
  command.limit = answer_limit;
  command.stop = stop;
  const os::Outcome outcome = os::run(command);
  const std::string said = error_message(outcome.error_tail);
  if (!outcome.ok())
    throw Error(Failure::unavailable,
                fmt::format("nix-store {}{}", outcome.describe(), said.empty() ? "" : ": " + said));
}

store::Closure closure_of(const std::vector<store::StorePath>& paths, const std::atomic<bool>* stop) {
  std::vector<std::string> roots;
  for (const store::StorePath& path : paths) roots.push_back(path.str());
  std::vector<std::string> all = lines_of(query({"--query", "--requisites"}, roots, stop));
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return store::parse_dump_db(query({"--dump-db"}, all, stop));
}

}  // namespace nixery::nix
