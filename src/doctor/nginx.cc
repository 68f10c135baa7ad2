#include "doctor/nginx.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <tuple>

#include "error.h"
#include "os/file.h"
#include "os/process.h"
#include "text/ascii.h"

namespace nixery::doctor {

namespace {

struct Process {
  std::string pid, parent;
  uid_t uid = 0;
  std::string title;  // "nginx: master process nginx -c /etc/nginx/nginx.conf"
};

std::string field_of(const std::string& status, std::string_view name) {
  const auto at = status.find(fmt::format("\n{}:\t", name));
  if (at == status.npos) return {};
  const auto start = at + name.size() + 3;
  return status.substr(start, status.find_first_of("\t\n", start) - start);
}

// Those of containers show here, too, but their files do not: where it can be seen, only processes of our own
// namespace.
std::vector<Process> nginx_processes() {
  std::vector<Process> processes;
  std::error_code ignored, hidden;
  const fs::path ours = fs::read_symlink("/proc/self/ns/pid", ignored);
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string pid = entry.path().filename();
    if (!text::all(pid, text::is_digit)) continue;
    if (const fs::path theirs = fs::read_symlink(entry.path() / "ns/pid", hidden); !hidden && theirs != ours) continue;
    try {
      std::string title = os::read_if_exists(entry.path() / "cmdline").value_or("");
      if (!title.starts_with("nginx: ")) continue;
      std::ranges::replace(title, '\0', ' ');
      while (title.ends_with(' ')) title.pop_back();
      const std::string status = os::read_if_exists(entry.path() / "status").value_or("");
      Process process{pid, field_of(status, "PPid"), 0, std::move(title)};
      const std::string uid = field_of(status, "Uid");
      std::from_chars(uid.data(), uid.data() + uid.size(), process.uid);
      processes.push_back(std::move(process));
    } catch (const Error&) {
      // It has ended meanwhile.
    }
  }
  return processes;
}

// -c of a master's title; empty where it has none.
std::string main_file_of(const std::string& title) {
  const auto at = title.find(" -c ");
  if (at == title.npos) return {};
  return title.substr(at + 4, title.find(' ', at + 4) - at - 4);
}

os::ProcessResult run(std::vector<std::string> argv, std::chrono::seconds limit) {
  os::Command command;
  command.argv = std::move(argv);
  command.limit = limit;
  return os::run(command);
}

// The program, and what its -V says: version and how it was configured.
std::pair<std::string, std::string> find_program(std::chrono::seconds limit) {
  for (const char* program : {"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"}) {
    try {
      const auto outcome = run({program, "-V"}, limit);
      if (outcome.ok()) return {program, outcome.error_tail};
    } catch (const Error&) {
      // Not there: the next one.
    }
  }
  return {};
}

// --user= of what -V says; nginx's own default is nobody.
std::string compiled_user(std::string_view configured) {
  constexpr std::string_view option = " --user=";
  const auto at = configured.find(option);
  if (at == configured.npos) return "nobody";
  const auto start = at + option.size();
  return std::string(configured.substr(start, configured.find_first_of(" \n", start) - start));
}

void find_user(Nginx& nginx, const std::vector<Process>& processes, std::string_view configured) {
  std::vector<std::string> masters;
  for (const Process& process : processes)
    if (process.title.starts_with("nginx: master") && main_file_of(process.title) == nginx.main_file)
      masters.push_back(process.pid);
  for (const Process& process : processes)
    if (process.title.starts_with("nginx: worker") && std::ranges::find(masters, process.parent) != masters.end()) {
      nginx.user = os::user_of(process.uid);
      nginx.user_origin = "its worker processes";
      return;
    }
  if (!nginx.accepted) return;
  const auto words = nginx.configuration.user();
  nginx.user = os::user_named(words.empty() ? compiled_user(configured) : words[0]);
  nginx.user_origin = words.empty() ? "its default" : "its directive user";
}

}  // namespace

Nginx look_at_nginx(std::string main_file, std::chrono::seconds limit) {
  Nginx nginx;
  const auto processes = nginx_processes();
  if (main_file.empty()) {
    std::vector<const Process*> masters;
    for (const Process& process : processes)
      if (process.title.starts_with("nginx: master")) masters.push_back(&process);
    // Its files may be in another mount namespace.
    if (std::error_code absent; masters.size() == 1 && fs::exists(main_file_of(masters[0]->title), absent))
      main_file = main_file_of(masters[0]->title);
  }
  nginx.main_file = std::move(main_file);
  std::string configured;
  std::tie(nginx.program, configured) = find_program(limit);
  if (!nginx.program.empty()) {
    nginx.version = find_version(configured);
    std::vector<std::string> argv = {nginx.program, "-T"};
    if (!nginx.main_file.empty()) argv.insert(argv.end(), {"-c", nginx.main_file});
    if (nginx.version >= Version{1, 19, 5}) argv.insert(argv.end(), {"-e", "stderr"});
    const auto outcome = run(std::move(argv), limit);
    nginx.accepted = outcome.ok();
    nginx.said = outcome.ok() ? "" : outcome.error_tail;
    nginx.configuration = NginxConfiguration::parse(outcome.output);
  }
  find_user(nginx, processes, configured);
  return nginx;
}

}  // namespace nixery::doctor
