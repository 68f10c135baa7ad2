#include "doctor/socket_checks.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <charconv>
#include <chrono>
#include <thread>

#include "doctor/fastcgi_client.h"
#include "doctor/listener.h"
#include "doctor/systemd_unit.h"
#include "doctor/worker.h"
#include "error.h"
#include "json/json.h"
#include "os/file.h"

namespace nixery::doctor {

namespace {

constexpr std::uint64_t files_wanted = 1024;  // enough for NIXERY_MAX_WAITING and the files of builds
constexpr std::string_view unix_prefix = "unix:";
constexpr std::string_view no_result_yet = "the checks have not ended yet";  // as /readyz says it
constexpr std::chrono::seconds first_checks_limit{15};

const char* const start_worker =
    "start the worker (systemctl restart nixery.socket nixery, or nixery serve) and see its log (journalctl -u nixery)";

// Of the worker, if it is the one that opened the socket; systemd may have.
Finding check_files_of(const std::optional<ucred>& peer) {
  std::uint64_t limit = 0;
  const char* whose = "this process may";
  if (peer) {
    const fs::path process = fmt::format("/proc/{}", peer->pid);
    try {
      if (os::read_if_exists(process / "comm").value_or("").starts_with("nixery")) {
        limit = open_files_limit(os::read_if_exists(process / "limits").value_or(""));
        whose = "the worker may";
      }
    } catch (const Error&) {
      // Not ours to read: by ourselves, then.
    }
  }
  if (rlimit own{}; limit == 0 && getrlimit(RLIMIT_NOFILE, &own) == 0) limit = own.rlim_cur;
  if (limit >= files_wanted) return ok("descriptors", fmt::format("{} open {} files or more", whose, files_wanted));
  return warning("descriptors", fmt::format("{} open {} files only", whose, limit),
                 fmt::format("let it have {}: LimitNOFILE= of its unit, ulimit -n of a shell", files_wanted));
}

// The answer to a GET of `path`.
std::string ask_worker(Stream& stream, const std::string& path) {
  stream.send(fastcgi_request({{"REQUEST_METHOD", "GET"},
                               {"REQUEST_URI", path},
                               {"QUERY_STRING", ""},
                               {"PATH_INFO", path},
                               {"SCRIPT_NAME", ""},
                               {"SERVER_PROTOCOL", "HTTP/1.1"},
                               {"GATEWAY_INTERFACE", "CGI/1.1"},
                               {"REMOTE_ADDR", "127.0.0.1"}}));
  return receive_fastcgi_answer(stream);
}

std::vector<Finding> failed(const std::string& seen, const std::string& fix, const std::string& command = {}) {
  return {failure("socket", seen, fix, command)};
}

std::string start_command(const Setup& setup) {
  return setup.unit ? restart_command({"nixery.socket", unit_name}) : "";
}

// Another program where a worker should listen; nullopt where it may be one, or systemd for one.
std::optional<ListeningProcess> stranger_at(const std::string& listen) {
  auto process = listener_at(listen);
  if (process && (process->program == "nixery" || process->program == "systemd")) return std::nullopt;
  return process;
}

std::vector<Finding> taken(const std::string& listen, const ListeningProcess& stranger) {
  return failed(
      fmt::format("{} is taken by {}, so no worker can listen there", listen, stranger.str()),
      "stop that program, or let NIXERY_LISTEN, and with it the upstream nixery_workers in nixery-http.conf, name "
      "another place; then restart the worker");
}

// A worker that has just started has no result yet: that is waited for.
std::string ask_readiness(const Setup& setup) {
  const auto end = std::chrono::steady_clock::now() + first_checks_limit;
  for (;;) {
    Stream stream(setup.config().listen, setup.deadline);
    std::string answer = ask_worker(stream, "/readyz");
    if (answer.find(no_result_yet) == answer.npos || std::chrono::steady_clock::now() >= end) return answer;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

}  // namespace

std::vector<Finding> check_socket(const Setup& setup) {
  const std::string& listen = setup.config().listen;
  const std::string path = listen.starts_with(unix_prefix) ? listen.substr(unix_prefix.size()) : "";
  if (std::error_code absent; !path.empty() && !fs::exists(path, absent)) {
    if (const auto wall = os::barrier(os::current_user(), path))
      return failed(fmt::format("{} cannot be entered, so {} cannot be seen", wall->string(), path),
                    "run this as root or as the worker's user");
    return failed(fmt::format("there is no socket {}", path), start_worker, start_command(setup));
  }
  std::optional<ucred> peer;
  std::string answer;
  try {
    Stream stream(listen, setup.deadline);
    peer = stream.peer();
    answer = ask_worker(stream, "/v2/");
  } catch (const Error& error) {
    if (const auto stranger = stranger_at(listen)) return taken(listen, *stranger);
    return failed(error.what(), start_worker, start_command(setup));
  }
  if (status_of_cgi_answer(answer) != 200)
    return failed(fmt::format("what listens at {} answers /v2/ with status {}", listen, status_of_cgi_answer(answer)),
                  "see that it is a worker of nixery, and its log");
  std::vector<Finding> findings = {ok("socket", fmt::format("a worker answers at {}", listen)), check_files_of(peer)};
  try {
    findings.push_back(judge_readiness(ask_readiness(setup)));
  } catch (const Error& error) {
    findings.push_back(failure("worker.ready", error.what(), start_worker, start_command(setup)));
  }
  return findings;
}

Finding judge_readiness(std::string_view cgi_answer) {
  constexpr const char* name = "worker.ready";
  const int status = status_of_cgi_answer(cgi_answer);
  if (status == 200) return ok(name, "the worker says that it is ready: it can write, and Nix answers it");
  std::string why;
  try {
    const auto report = json::parse(cgi_answer.substr(cgi_answer.find("\r\n\r\n") + 4), "/readyz");
    if (const json::Value* checks = json::find(report, "checks"); checks && checks->IsObject())
      for (const auto& check : checks->GetObject())
        if (check.value.IsObject())
          if (const auto text = json::string_at(check.value, "why"))
            why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", check.name.GetString(), *text);
  } catch (const Error&) {
    // No report: the status has to do.
  }
  return failure(
      name,
      fmt::format("the worker says that it is not ready: {}", why.empty() ? fmt::format("status {}", status) : why),
      "see its log (journalctl -u nixery); it may see less than you do: in systemd's sandbox it writes only "
      "below StateDirectory= and ReadWritePaths=");
}

std::vector<Finding> check_socket_rights(const Setup& setup) {
  const std::string& listen = setup.config().listen;
  if (!listen.starts_with(unix_prefix) || !setup.nginx.user) return {};
  const fs::path path = listen.substr(unix_prefix.size());
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return {};
  const os::User& user = *setup.nginx.user;
  if (const auto wall = os::barrier(user, path))
    return {failure("socket.nginx", fmt::format("nginx's user {} may not enter {}", user.name, wall->string()),
                    fmt::format("chmod a+x {}", wall->string()), fmt::format("chmod a+x {}", shell_word(*wall)))};
  if (!os::may(user, path, {.read = true, .write = true}))
    return {failure("socket.nginx",
                    fmt::format("nginx's user {} may not connect to {}: its mode is {:04o}, its group {}", user.name,
                                path.string(), status.st_mode & 07777, status.st_gid),
                    fmt::format("give the socket to the group of {} and let the group write: SocketGroup={} and "
                                "SocketMode=0660 in nixery.socket",
                                user.name, user.name))};
  return {ok("socket.nginx", fmt::format("nginx's user {} may connect to {}", user.name, path.string()))};
}

std::uint64_t open_files_limit(std::string_view limits) {
  constexpr std::string_view name = "Max open files";
  const auto at = limits.find(name);
  if (at == limits.npos) return 0;
  const auto start = limits.find_first_not_of(' ', at + name.size());
  if (start == limits.npos) return 0;
  std::uint64_t value = 0;
  std::from_chars(limits.data() + start, limits.data() + limits.size(), value);
  return value;
}

}  // namespace nixery::doctor
