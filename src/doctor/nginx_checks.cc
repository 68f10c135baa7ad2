#include "doctor/nginx_checks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>

#include "doctor/listener.h"
#include "doctor/systemd_unit.h"
#include "error.h"
#include "http_client/http_client.h"
#include "text/lines.h"

namespace nixery::doctor {

namespace {

constexpr Version oldest_nginx{1, 22, 0};

// The sentence of nginx's that matters: "open() "/x" failed … in /etc/nginx/nginx.conf:3".
std::string complaint_of(std::string_view said) {
  for (const std::string& line : text::lines(said))
    for (const std::string_view level : {"[emerg] ", "[crit] ", "[alert] "})
      if (const auto at = line.find(level); at != line.npos) {
        std::string_view text = std::string_view(line).substr(at + level.size());
        // "12345#12345: …"
        if (const auto mark = text.find_first_not_of("0123456789"); mark != text.npos && text[mark] == '#')
          text.remove_prefix(std::min(text.find(": ") + 2, text.size()));
        return std::string(text);
      }
  return said.empty() ? "it does not say why" : std::string(text::first_line(said));
}

bool is_registry(const http_client::Response& response) {
  return response.header("Docker-Distribution-API-Version") == "registry/2.0";
}

}  // namespace

Finding check_nginx_version(const Nginx& nginx) {
  if (nginx.program.empty())
    return warning("nginx.version", "there is no nginx in PATH here",
                   "install it (apt install nginx), or, where it runs elsewhere, in another container say, look at it "
                   "there; --url asks a registry anywhere");
  if (!nginx.version)
    return warning("nginx.version", "nginx does not tell its version", "run `nginx -v`; 1.22 or later is needed");
  if (*nginx.version < oldest_nginx)
    return failure("nginx.version", fmt::format("nginx {}", nginx.version->str()),
                   fmt::format("install nginx {} or later", oldest_nginx.str()));
  return ok("nginx.version", fmt::format("nginx {}", nginx.version->str()));
}

Finding check_nginx_configuration(const Nginx& nginx, bool as_root) {
  const std::string file = nginx.main_file.empty() ? "its default configuration" : nginx.main_file;
  if (nginx.accepted) return ok("nginx.configuration", fmt::format("nginx takes {}", file));
  const std::string complaint = complaint_of(nginx.said);
  if (!as_root)
    return warning("nginx.configuration", fmt::format("nginx cannot be asked: {}", complaint),
                   "run this as root, who may read all of nginx's files");
  // The two parts name each other's variables.
  if (complaint.starts_with("unknown \"nixery_"))
    return failure("nginx.configuration", fmt::format("nginx does not take {}: {}", file, complaint),
                   "include both: nixery-http.conf in http {} and nixery-locations.conf in the registry's server {}");
  return failure("nginx.configuration", fmt::format("nginx does not take {}: {}", file, complaint),
                 "fix that file and line, check with `nginx -t`, then `nginx -s reload`");
}

Finding check_nginx_includes(const NginxConfiguration& configuration) {
  const auto http = configuration.http_part(), locations = configuration.locations_part();
  if (!http)
    return failure(
        "nginx.includes", "nginx's configuration does not include nixery-http.conf",
        "put `include …/nixery-http.conf;` into http {} (see nginx/README.md; on Debian: ln -s "
        "../sites-available/nixery /etc/nginx/sites-enabled/), and reload nginx; if another nginx serves the "
        "registry, name its file with --nginx-conf");
  if (!locations)
    return failure("nginx.includes", "nginx's configuration does not include nixery-locations.conf",
                   "put `include …/nixery-locations.conf;` into the registry's server {}, and reload nginx");
  return ok("nginx.includes", fmt::format("{} and {}", *http, *locations));
}

Finding check_nginx_tree(const NginxConfiguration& configuration, const fs::path& tree) {
  const auto given = configuration.tree();
  if (!given)
    return failure("nginx.tree", "$nixery_tree has no default",
                   fmt::format("let nixery-http.conf say: map \"\" $nixery_tree {{ default {}; }}", tree.string()));
  std::error_code absent;
  const bool same = *given == tree.string() || (fs::equivalent(*given, tree, absent) && !given->ends_with('/'));
  if (same) return ok("nginx.tree", fmt::format("$nixery_tree is {}", *given));
  return failure("nginx.tree", fmt::format("nginx serves {}, workers write into {}", *given, tree.string()),
                 fmt::format("set $nixery_tree in nixery-http.conf and NIXERY_TREE to one directory (no slash at its "
                             "end), reload nginx, restart the worker"));
}

Finding check_nginx_workers(const NginxConfiguration& configuration, const std::string& listen) {
  const auto servers = configuration.workers();
  for (const std::string& server : servers)
    if (same_place(server, listen)) return ok("nginx.workers", fmt::format("nginx hands over at {}", server));
  return failure("nginx.workers",
                 fmt::format("nginx hands over at {}, workers listen on {}", fmt::join(servers, ", "), listen),
                 "let the upstream nixery_workers in nixery-http.conf and NIXERY_LISTEN name one place");
}

std::vector<Finding> check_nginx_ports(const NginxConfiguration& configuration) {
  std::vector<Finding> findings;
  for (const ListenAddress& address : configuration.addresses()) {
    const auto process = listener_at(address.address);
    if (!process || process->program == "nginx") continue;
    findings.push_back(failure(
        "nginx.ports", fmt::format("{}, where nginx is to listen, is taken by {}", address.address, process->str()),
        "stop that program, or let the registry's server listen at another port, and start nginx (systemctl restart "
        "nginx)"));
  }
  return findings;
}

std::vector<Finding> check_nginx(const Setup& setup) {
  const Nginx& nginx = setup.nginx;
  std::vector<Finding> findings = {check_nginx_version(nginx)};
  if (nginx.program.empty()) return findings;
  findings.push_back(check_nginx_configuration(nginx, geteuid() == 0));
  if (!nginx.accepted) return findings;
  findings.push_back(
      nginx.user
          ? ok("nginx.user", fmt::format("nginx's workers run as {}, by {}", nginx.user->name, nginx.user_origin))
          : warning("nginx.user", "this machine does not know the user as whom nginx's workers run",
                    "see the directive user of nginx's main file; what that user may read is not checked"));
  findings.push_back(check_nginx_includes(nginx.configuration));
  if (!nginx.configuration.http_part()) return findings;
  findings.push_back(check_nginx_tree(nginx.configuration, setup.config().tree));
  findings.push_back(check_nginx_workers(nginx.configuration, setup.config().listen));
  for (Finding& finding : check_nginx_ports(nginx.configuration)) findings.push_back(std::move(finding));
  return findings;
}

std::vector<Finding> check_registry(const Setup& setup) {
  http_client::Request question{.url = setup.url};
  question.limit = setup.deadline;
  if (question.url.empty()) {
    for (const ListenAddress& address : setup.nginx.configuration.addresses()) {
      const std::string url = url_of(address);
      if (url.empty()) continue;
      question.url = url;
      if (address.tls && !address.server_name.empty() && address.server_name.find_first_of("*~_") != 0) {
        question.connect_to = url.substr(url.find("://") + 3);
        question.url = fmt::format("https://{}{}", address.server_name, url.substr(url.rfind(':')));
      }
      break;
    }
    if (question.url.empty()) return {};
    question.uses_proxy = false;
  }
  while (question.url.ends_with('/')) question.url.pop_back();
  const std::string base = question.url;

  question.url = base + "/v2/";
  http_client::Response answer;
  try {
    answer = http_client::send(question);
  } catch (const Error& error) {
    // Another nginx than the system's, or one elsewhere, is not started so.
    const std::string& file = setup.nginx.main_file;  // empty: nginx's default
    const bool is_the_systems = setup.url.empty() && (file.empty() || file == "/etc/nginx/nginx.conf");
    return {failure("registry", error.what(), "start nginx (systemctl start nginx), or give its address with --url",
                    is_the_systems ? restart_command({"nginx.service"}) : "")};
  }
  if (answer.status == 401)
    return {ok("registry", fmt::format("{} asks for a login; without one nothing more can be seen", question.url))};
  if (answer.status != 200 || !is_registry(answer))
    return {failure("registry",
                    fmt::format("{} is answered with status {} and is no registry", question.url, answer.status),
                    "include nixery-locations.conf in the server that listens there, and reload nginx")};
  std::vector<Finding> findings = {ok("registry", fmt::format("{} answers", question.url))};

  // Nothing of that name is ever built, and nginx cannot know: a worker has to say so.
  question.url = base + "/v2/nixery-doctor/tags/list";
  try {
    answer = http_client::send(question);
  } catch (const Error& error) {
    findings.push_back(failure("registry.worker", error.what(), "see nginx's error log"));
    return findings;
  }
  if (answer.status == 404 && is_registry(answer) && answer.body.find("\"errors\"") != answer.body.npos)
    findings.push_back(ok("registry.worker", "a worker answers through nginx"));
  else if (answer.status == 401 || answer.status == 403)
    findings.push_back(ok("registry.worker", "only who is logged in may ask; this was not asked"));
  else
    findings.push_back(failure("registry.worker",
                               fmt::format("through nginx no worker answers: status {}", answer.status),
                               "see the findings about the socket, and nginx's error log"));
  return findings;
}

}  // namespace nixery::doctor
