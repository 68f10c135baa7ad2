#include "doctor/unit_checks.h"

#include <fmt/format.h>

#include "doctor/systemd_unit.h"
#include "doctor/worker.h"

namespace nixery::doctor {

namespace {

Finding barred(const std::string& name, const char* setting, const fs::path& directory, const std::string& barrier,
               const Setup& setup) {
  const std::string seen = fmt::format("{} {} is read-only for the worker of {}, regardless of its owner ({})", setting,
                                       directory.string(), unit_name, barrier);
  if (barrier != "ProtectSystem=strict" && barrier != "ProtectSystem=full" && barrier != "ProtectSystem=yes")
    return failure(name, seen,
                   fmt::format("put it elsewhere, such as below /srv, or take {} out of the unit", barrier));
  const std::string drop_in = fmt::format("/etc/systemd/system/{}.d", unit_name);
  // Before it is there, systemd would not start the worker.
  return failure(name, seen, fmt::format("name it in ReadWritePaths= of the unit (systemctl edit {})", unit_name),
                 fmt::format("install -d -o {} {} && install -d {} && printf '[Service]\\nReadWritePaths=%s\\n' {} "
                             ">{}/{}.conf && systemctl daemon-reload && systemctl restart {}",
                             setup.worker.name, shell_word(directory), drop_in, shell_word(directory), drop_in,
                             name.substr(0, name.find('.')), unit_name));
}

}  // namespace

std::vector<Finding> check_unit(const Setup& setup) {
  if (!setup.unit) return {};
  std::vector<Finding> findings;
  const auto check = [&](const std::string& name, const char* setting, const fs::path& directory) {
    if (const std::string barrier = write_barrier(*setup.unit, directory); !barrier.empty())
      findings.push_back(barred(name, setting, directory, barrier, setup));
  };
  check("tree.unit", "NIXERY_TREE", setup.config().tree);
  check("state.unit", "NIXERY_STATE", setup.config().state);
  if (findings.empty())
    findings.push_back(ok("unit", fmt::format("{} lets its worker write both directories", unit_name)));
  return findings;
}

}  // namespace nixery::doctor
