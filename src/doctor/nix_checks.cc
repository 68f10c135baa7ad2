#include "doctor/nix_checks.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "doctor/build_check.h"
#include "doctor/daemon.h"
#include "doctor/systemd_unit.h"
#include "doctor/worker.h"
#include "error.h"
#include "json/json.h"
#include "nix/error_message.h"
#include "nix/installation.h"
#include "nix/nix.h"
#include "text/lines.h"

namespace nixery::doctor {

namespace {

constexpr Version oldest_nix{2, 8, 0};

// What is asked for cannot be there; that Nix says so proves that its store can be read.
constexpr const char* absent_path = "/nix/store/00000000000000000000000000000000-nixery-doctor";

// What lets the worker reach nix-daemon, or starts that; empty where it is not this machine's own.
std::string daemon_command(const Setup& setup, const fs::path& socket) {
  const auto barrier = os::barrier(setup.worker, socket);
  struct stat status {};
  if (barrier ||
      (stat(socket.c_str(), &status) == 0 && !os::may(setup.worker, socket, {.read = true, .write = true}))) {
    const fs::path& closed = barrier ? *barrier : socket;
    if (stat(closed.c_str(), &status) != 0 || status.st_gid == 0) return {};
    const std::string restart = setup.unit ? restart_command({unit_name}) : "";
    return fmt::format("usermod -aG {} {}{}{}", os::group_name(status.st_gid), setup.worker.name,
                       restart.empty() ? "" : " && ", restart);
  }
  return socket == "/nix/var/nix/daemon-socket/socket" ? restart_command({"nix-daemon.socket"}) : "";
}

Finding check_own_store(const Setup& setup, const std::string& other) {
  const fs::path state = nix::state_directory();
  const std::string use_daemon = fmt::format(
      "run nix-daemon (systemctl enable --now nix-daemon.socket) and let {} use it: NIX_REMOTE=daemon, and on Debian "
      "the "
      "group nix-users",
      setup.worker.name);
  std::error_code absent;
  if (other.empty() && !fs::exists(state / "db", absent)) {
    fs::path parent = state;
    while (!fs::exists(parent, absent) && parent.has_relative_path()) parent = parent.parent_path();
    if (access(parent.c_str(), W_OK | X_OK) == 0)
      return ok("nix.store",
                fmt::format("there is no store yet; {} may make it below {}", setup.worker.name, parent.string()));
    return failure("nix.store",
                   fmt::format("there is no store, no daemon, and {} may not make a store in {}", setup.worker.name,
                               parent.string()),
                   use_daemon);
  }
  const auto outcome = os::run(command_for(setup, {"nix-store", "--check-validity", absent_path}));
  if (outcome.error_tail.find("is not valid") != std::string::npos)
    return ok("nix.store", other.empty() ? fmt::format("{} opens the store itself, without a daemon", setup.worker.name)
                                         : fmt::format("the store is {}", other));
  // Nix takes a daemon whose socket the worker may not see for none.
  return failure("nix.store", fmt::format("{} cannot open Nix's store: {}", setup.worker.name, reason_of(outcome)),
                 use_daemon, daemon_command(setup, state / "daemon-socket/socket"));
}

std::vector<Finding> check_building(const Setup& setup, bool by_daemon) {
  std::string configuration;
  try {
    // Unstable by name, but there since 2.4; "nix config show" is the same since 2.20.
    const auto outcome =
        os::run(command_for(setup, {"nix", "--extra-experimental-features", "nix-command", "show-config", "--json"}));
    if (outcome.ok()) configuration = outcome.output;
  } catch (const Error&) {
    // No program `nix`: what follows says so.
  }
  Building building{by_daemon, !by_daemon && setup.worker.uid == 0, 0};
  if (!configuration.empty()) {
    const auto document = json::parse(configuration, "nix show-config");
    if (const json::Value* group = json::find(document, "build-users-group"))
      building.members_of_group = os::members_of_group(json::string_or(*group, "value", ""));
  }
  return judge_building(configuration, building);
}

}  // namespace

std::string reason_of(const os::ProcessResult& outcome) {
  const std::string sentence = nix::error_message(outcome.error_tail);
  return sentence.empty() ? outcome.describe() : sentence;
}

Finding judge_nix_version(std::string_view said) {
  const auto version = find_version(said);
  if (!version) return failure("nix.version", "Nix does not tell its version", "install Nix 2.8 or later");
  if (*version < oldest_nix)
    return failure("nix.version", fmt::format("Nix {}", version->str()), "install Nix 2.8 or later");
  return ok("nix.version", fmt::format("Nix {}", version->str()));
}

Finding judge_advisories(const Version& version, std::string_view whose) {
  const auto advisories = escape_advisories(version);
  const std::string who = fmt::format("{} {}", whose, version.str());
  if (!advisories.open) return ok("nix.advisories", fmt::format("{} fixes the known escapes of builds", who));
  const std::string seen = fmt::format(
      "{} is older than {}: as the project released it, builds can escape its sandbox; whether your distribution has "
      "patched it without a new number cannot be seen from here",
      who, advisories.fixed_in ? advisories.fixed_in->str() : "every series that was fixed for known escapes");
  return warning("nix.advisories", seen,
                 fmt::format("{}, or see your distribution's advisories (Debian: its security tracker, package nix); "
                             "meanwhile serve only packages that you trust, or set NIXERY_SUBSTITUTE_ONLY=1",
                             advisories.fixed_in ? fmt::format("update to {} or later", advisories.fixed_in->str())
                                                 : "install a later Nix"));
}

std::vector<Finding> judge_building(std::string_view configuration, const Building& building) {
  if (configuration.empty())
    return {warning("nix.sandbox", "whether builds are in a sandbox cannot be seen: `nix show-config` fails",
                    "see that nix.conf has sandbox = true")};
  const auto document = json::parse(configuration, "nix show-config");
  const auto value_of = [&](const char* name) -> const json::Value* {
    const json::Value* setting = json::find(document, name);
    return setting && setting->IsObject() ? json::find(*setting, "value") : nullptr;
  };
  std::vector<Finding> findings;
  const json::Value* sandbox = value_of("sandbox");
  const bool is_on =
      sandbox &&
      (sandbox->IsBool() ? sandbox->GetBool() : sandbox->IsString() && sandbox->GetString() == std::string("true"));
  const bool is_relaxed = sandbox && sandbox->IsString() && sandbox->GetString() == std::string("relaxed");
  const char* whose = building.by_daemon ? "nix.conf, as seen from here," : "nix's configuration";
  if (is_on)
    findings.push_back(ok("nix.sandbox", fmt::format("{} has sandbox = true", whose)));
  else
    findings.push_back(warning(
        "nix.sandbox",
        fmt::format("{} has sandbox = {}: builds see this machine's files and network", whose,
                    is_relaxed ? "relaxed" : "false"),
        "set sandbox = true in nix.conf (and in NIX_CONFIG, if it says otherwise), and restart nix-daemon; images are "
        "then built from what their packages declare, and from nothing else"));

  if (building.by_daemon) return findings;
  const json::Value* group = value_of("build-users-group");
  const std::string name = group && group->IsString() ? group->GetString() : "";
  if (building.as_root && !name.empty() && building.members_of_group == 0)
    findings.push_back(failure(
        "nix.build-users",
        fmt::format("root builds, and its build-users-group '{}' has no members: every build fails", name),
        "run nix-daemon's set-up (Debian: apt install nix-setup-systemd), which makes the group and its users; for a "
        "trial, NIX_CONFIG='build-users-group ='",
        build_users_command(name)));
  else if (building.as_root && name.empty())
    findings.push_back(warning("nix.build-users", "builds run as root",
                               "where packages are not trusted, use nix-daemon with build users (Debian: apt install "
                               "nix-setup-systemd), and a worker that is not root"));
  else if (!building.as_root)
    findings.push_back(warning("nix.build-users", "builds run as the worker's own user, and may read what it may",
                               "where packages are not trusted, use nix-daemon (NIX_REMOTE=daemon)"));
  else
    findings.push_back(
        ok("nix.build-users", fmt::format("builds run as the {} members of {}", building.members_of_group, name)));
  return findings;
}

std::vector<Finding> check_nix(const Setup& setup) {
  std::vector<Finding> findings;
  std::string said;
  try {
    auto command = command_for(setup, {"nix-store", "--version"});
    command.env["NIX_REMOTE"] = "dummy://";  // or it would make a store where there is none
    said = os::run(command).output;
  } catch (const Error& error) {
    return {
        failure("nix.version", error.what(),
                "install Nix 2.8 or later (Debian: apt install nix-bin), or put its directory into the worker's PATH")};
  }
  findings.push_back(judge_nix_version(said));
  if (findings.back().verdict == Verdict::failure) return findings;

  std::string builder = said, whose = "Nix";
  const auto [daemon, other] = nix::store_access();
  if (daemon.empty()) {
    findings.push_back(check_own_store(setup, other));
  } else {
    try {
      const std::string version = ask_daemon_version(daemon, setup.deadline);
      findings.push_back(ok("nix.store", fmt::format("nix-daemon{} answers {} at {}",
                                                     version.empty() ? "" : " " + version, setup.worker.name, daemon)));
      if (!version.empty()) builder = version, whose = "nix-daemon";
    } catch (const Error& error) {
      findings.push_back(failure(
          "nix.store", fmt::format("nix-daemon does not answer {}: {}", setup.worker.name, error.what()),
          fmt::format("systemctl enable --now nix-daemon.socket; let {} connect (Debian: adduser {} nix-users, then "
                      "restart the worker) and be among allowed-users of nix.conf",
                      setup.worker.name, setup.worker.name),
          daemon_command(setup, daemon)));
    }
  }
  if (const auto version = find_version(builder)) findings.push_back(judge_advisories(*version, whose));
  for (Finding& finding : check_building(setup, !daemon.empty())) findings.push_back(std::move(finding));
  // What is wrong already would be said again, in Nix's words.
  if (std::ranges::none_of(findings, [](const Finding& finding) { return finding.verdict == Verdict::failure; }))
    for (Finding& finding : check_build(setup)) findings.push_back(std::move(finding));
  return findings;
}

Finding check_evaluation(const Setup& setup) {
  auto command =
      command_for(setup, {"nix-instantiate", "--eval", "--strict", "--json", "-E", "builtins.currentSystem"});
  command.env["NIX_REMOTE"] = "dummy://";
  try {
    const auto outcome = os::run(command);
    if (outcome.ok())
      return ok("nix.evaluation", fmt::format("nix-instantiate evaluates, for {}", text::first_line(outcome.output)));
    return failure("nix.evaluation", fmt::format("nix-instantiate cannot evaluate: {}", reason_of(outcome)),
                   "fix what the message names: often nix.conf, NIX_CONFIG or the worker's home directory");
  } catch (const Error& error) {
    return failure(
        "nix.evaluation", error.what(),
        "install Nix 2.8 or later (Debian: apt install nix-bin), or put its directory into the worker's PATH");
  }
}

}  // namespace nixery::doctor
