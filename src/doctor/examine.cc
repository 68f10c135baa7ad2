#include "doctor/examine.h"

#include "doctor/directory_checks.h"
#include "doctor/lock_checks.h"
#include "doctor/nginx_checks.h"
#include "doctor/nix_checks.h"
#include "doctor/settings_checks.h"
#include "doctor/socket_checks.h"
#include "doctor/source_checks.h"
#include "doctor/unit_checks.h"

namespace nixery::doctor {

namespace {

using Findings = std::vector<Finding>;

Check as_worker(const SharedSetup& setup, std::string name, std::function<Findings(const Setup&)> check) {
  return {std::move(name), [setup, check = std::move(check)] {
            Findings findings;
            os::act_as(setup->worker, [&] { findings = check(*setup); });
            return findings;
          }};
}

Check as_ourselves(const SharedSetup& setup, std::string name, std::function<Findings(const Setup&)> check) {
  return {std::move(name), [setup, check = std::move(check)] { return check(*setup); }};
}

}  // namespace

os::Command command_for(const Setup& setup, std::vector<std::string> argv) {
  os::Command command;
  command.argv = std::move(argv);
  command.limit = setup.deadline;
  if (os::can_become(setup.worker)) command.env = {{"HOME", setup.worker.home}, {"USER", setup.worker.name}};
  command.env["LC_ALL"] = "C";
  return command;
}

std::vector<Check> all_checks(const SharedSetup& setup) {
  return {
      as_worker(setup, "files", check_files),
      as_worker(setup, "nix", check_nix),
      as_worker(setup, "nix.evaluation", [](const Setup& s) { return Findings{check_evaluation(s)}; }),
      as_worker(setup, "source", [](const Setup& s) { return Findings{check_source(s)}; }),
      as_worker(setup, "tree",
                [](const Setup& s) { return Findings{check_directory("tree", s.config().tree, s.worker)}; }),
      as_worker(setup, "state",
                [](const Setup& s) { return Findings{check_directory("state", s.config().state, s.worker)}; }),
      as_worker(setup, "tree.layout",
                [](const Setup& s) { return Findings{check_layout(s.config().tree, s.config().state)}; }),
      as_ourselves(setup, "unit", check_unit),
      as_worker(setup, "tree.locks", [](const Setup& s) { return check_locks("tree.locks", s.config().tree); }),
      as_worker(setup, "state.locks", [](const Setup& s) { return check_locks("state.locks", s.config().state); }),
      as_ourselves(setup, "tree.nginx", check_reading),
      as_worker(setup, "tree.orphans", [](const Setup& s) { return Findings{check_orphans(s.config().tree)}; }),
      as_ourselves(setup, "tree.room", check_room),
      as_ourselves(setup, "nginx", check_nginx),
      as_ourselves(setup, "socket", check_socket),
      as_ourselves(setup, "socket.nginx", check_socket_rights),
      as_ourselves(setup, "registry", check_registry),
      as_worker(setup, "clock", [](const Setup& s) { return Findings{check_clock(s)}; }),
  };
}

}  // namespace nixery::doctor
