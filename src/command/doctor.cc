#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "command/command.h"
#include "command/output.h"
#include "command/settings.h"
#include "command/terminal.h"
#include "command/terminal_style.h"
#include "doctor/examine.h"
#include "doctor/settings_checks.h"
#include "doctor/systemd_unit.h"
#include "doctor/worker.h"
#include "error.h"
#include "quantity.h"
#include "text/plain_text.h"

namespace nixery::command {

namespace {

using doctor::Finding;
using doctor::Verdict;

constexpr const char* packaged_settings = "/etc/nixery/nixery.env";

struct Count {
  std::size_t failures = 0, warnings = 0;
};

Count count(const std::vector<Finding>& findings) {
  Count count;
  for (const Finding& finding : findings) {
    count.failures += finding.verdict == Verdict::failure ? 1 : 0;
    count.warnings += finding.verdict == Verdict::warning ? 1 : 0;
  }
  return count;
}

void print_findings(const std::vector<Finding>& findings, const Count& count) {
  print_json([&](json::Writer& writer) {
    json::key(writer, "healthy");
    writer.Bool(count.failures == 0);
    json::member(writer, "failures", count.failures);
    json::member(writer, "warnings", count.warnings);
    json::key(writer, "findings");
    writer.StartArray();
    for (const Finding& finding : findings) {
      writer.StartObject();
      json::member(writer, "name", finding.name);
      json::member(writer, "verdict", name_of(finding.verdict));
      json::member(writer, "seen", finding.seen);
      json::member(writer, "fix", finding.fix);
      json::member(writer, "command", finding.command);
      writer.EndObject();
    }
    writer.EndArray();
  });
}

std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// Wraps to lines of at most `width` columns and indents all but the first by `indent` spaces. Expects one byte per
// column.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  std::string lines;
  std::size_t column = indent;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find(' ', start), text.size());
    if (start > 0) {
      if (column + 1 + end - start > width) {
        lines += fmt::format("\n{:{}}", "", indent);
        column = indent;
      } else {
        lines += ' ';
        ++column;
      }
    }
    lines += text.substr(start, end - start);
    column += end - start;
    start = end + 1;
  }
  return lines;
}

void print_text(const std::vector<Finding>& findings, const Count& count) {
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  // In a pipe, each finding is one line.
  const std::size_t width = isatty(STDOUT_FILENO) ? std::max<std::size_t>(60, columns_of(STDOUT_FILENO)) : SIZE_MAX;
  const auto coloured = [&](Verdict verdict, const std::string& text) {
    return verdict == Verdict::ok        ? style.green(text)
           : verdict == Verdict::warning ? style.yellow(text)
                                         : style.red(text);
  };
  for (const Finding& finding : findings) {
    fmt::print("{} {} {}\n", coloured(finding.verdict, fmt::format("{:8}", name_of(finding.verdict))),
               style.bold(fmt::format("{:20}", finding.name)), wrapped(text::plain_line(finding.seen), 30, width));
    if (!finding.fix.empty())
      fmt::print("{:30}{} {}\n", "", style.dim("fix:"), wrapped(text::plain_line(finding.fix), 36, width));
    // Not wrapped, so that it can be copied.
    if (!finding.command.empty()) fmt::print("{:30}{} {}\n", "", style.dim("run:"), text::plain_line(finding.command));
  }
  if (count.failures + count.warnings == 0)
    fmt::print("\n{}\n", style.green("no problems found"));
  else
    fmt::print("\n{}, {}\n",
               coloured(count.failures ? Verdict::failure : Verdict::ok, counted(count.failures, "failure")),
               coloured(count.warnings ? Verdict::warning : Verdict::ok, counted(count.warnings, "warning")));
}

// The systemd unit if its worker is checked: if its settings file is given, or no settings at all.
std::optional<doctor::ServiceUnit> unit_of(const Arguments& arguments, bool nothing_set) {
  auto unit = doctor::find_unit(doctor::unit_name);
  const auto file = arguments.value("--settings");
  if (!unit || nothing_set) return unit;
  if (file)
    for (const std::filesystem::path& settings : unit->settings)
      if (std::error_code absent; std::filesystem::equivalent(settings, *file, absent)) return unit;
  return std::nullopt;
}

// The worker's user: --user, or else the result of find_worker().
os::User worker_of(const Arguments& arguments, const doctor::Setup& setup, std::vector<Finding>& findings) {
  const os::User we = os::current_user();
  doctor::Worker worker;
  if (const auto name = arguments.value("--user")) {
    const auto user = os::user_named(std::string(*name));
    if (!user) throw Misuse{fmt::format("--user: there is no user '{}' on this machine", *name)};
    worker = {*user, "as --user says"};
  } else {
    worker = doctor::find_worker(setup.config().state, setup.unit);
  }
  if (!os::can_become(worker.user)) {
    findings.push_back(doctor::warning(
        "user", fmt::format("the worker's user is {}, but doctor runs as {}", worker.user.name, we.name),
        fmt::format("run it as root or as {}: its findings on permissions and Nix hold for {} only", worker.user.name,
                    we.name)));
    return we;
  }
  os::User user = os::with_groups_of_running(std::move(worker.user), "nixery");
  findings.push_back(
      doctor::ok("user", worker.origin.empty()
                             ? fmt::format("cannot find the worker's user; assuming {} (--user "
                                           "names another)",
                                           user.name)
                             : fmt::format("assuming that the worker runs as {}, {}", user.name, worker.origin)));
  return user;
}

int run(const Arguments& arguments) {
  const auto deadline = parse_duration(arguments.value("--deadline").value_or("20s"));
  if (!deadline || deadline->count() == 0 || *deadline > std::chrono::hours(1))
    throw Misuse{"--deadline: give a duration from 1s to 1h"};
  take_settings_file(arguments);

  doctor::ReadSettings read =
      doctor::read_settings([](const char* name) { return std::getenv(name); }, strange_settings_of_environment);
  unsetenv("NIXERY_PKGS_REPO");  // it may hold a password
  std::vector<Finding> findings = std::move(read.findings);
  const bool nothing_set =
      std::ranges::none_of(read.loaded.settings, [](const Setting& s) { return s.from_environment; });
  if (nothing_set && access(packaged_settings, F_OK) == 0)
    findings.push_back(doctor::warning(
        "settings.file", fmt::format("no setting is given, but the worker may use those of {}", packaged_settings),
        fmt::format("nixery doctor --settings {}", packaged_settings)));

  const auto setup = std::make_shared<doctor::Setup>();
  setup->settings = std::move(read.loaded);
  setup->deadline = *deadline;
  setup->url = arguments.value_or("--url", "");
  setup->unit = unit_of(arguments, nothing_set);
  setup->worker = worker_of(arguments, *setup, findings);
  setup->nginx = doctor::look_at_nginx(arguments.value_or("--nginx-conf", ""), *deadline);

  auto checkup = doctor::run_checks(doctor::all_checks(setup), *deadline);
  for (Finding& finding : checkup.findings) findings.push_back(std::move(finding));
  const Count counted = count(findings);
  arguments.json() ? print_findings(findings, counted) : print_text(findings, counted);
  const int status = counted.failures == 0 ? 0 : 1;
  if (checkup.overdue) doctor::finish(status);
  return status;
}

}  // namespace

const Command doctor = {
    "doctor",
    "",
    "check the set-up, and show how to fix problems",
    "Checks the settings, Nix, the package source, the two directories, nginx, the workers' socket and the registry\n"
    "itself. Each finding has a fix and, if one command of root's shell suffices, that command. Doctor changes "
    "nothing\n"
    "except Nix's store, into which it builds one tiny path; it runs `nginx -T` and asks a worker whether it is "
    "ready.\n"
    "If root runs it, it checks as the worker's user and, for files and the socket, also as nginx's user.\n",
    {json_option,
     settings_option,
     {"--user", "NAME", "the worker's user; default: that of the running worker, or of its unit"},
     {"--url", "URL", "the registry's URL; default: from nginx's configuration"},
     {"--nginx-conf", "FILE",
      "nginx's main configuration file; default: that of the running nginx, or nginx's own default"},
     {"--deadline", "TIME", "time limit of one check; default: 20s"}},
    "healthy, failures, warnings, findings (name, verdict: ok, warning or failure, seen, fix, command)",
    {{"sudo nixery doctor --settings /etc/nixery/nixery.env", "the Debian package's worker and its environment"},
     {"nixery doctor --url https://registry.example.org", "check the registry at its public URL"}},
    "0 if nothing fails (there may be warnings), 1 if something does",
    {"config", "verify", "serve"},
    run};

}  // namespace nixery::command
