#include <doctest/doctest.h>
#include <fmt/format.h>

#include "doctor/build_check.h"
#include "doctor/checkup.h"
#include "doctor/directory_checks.h"
#include "doctor/fastcgi_client.h"
#include "doctor/nginx_checks.h"
#include "doctor/nginx_configuration.h"
#include "doctor/nix_checks.h"
#include "doctor/socket_checks.h"
#include "doctor/version.h"
#include "os/user.h"

using namespace nixery;
using namespace nixery::doctor;

TEST_CASE("versions are found in programs' output") {
  CHECK(find_version("nix-store (Nix) 2.8.0\n") == Version{2, 8, 0});
  CHECK(find_version("nix (Nix) 2.18.0pre20230801_abcdef0") == Version{2, 18, 0});
  CHECK(find_version("nginx version: nginx/1.22.1 (Ubuntu)") == Version{1, 22, 1});
  CHECK(find_version("nix (Nix) 2.34") == Version{2, 34, 0});
  CHECK(find_version("v10.20.30") == Version{10, 20, 30});
  CHECK_FALSE(find_version("").has_value());
  CHECK_FALSE(find_version("no number, or 12 alone").has_value());
  CHECK_FALSE(find_version("99999999999.1").has_value());
  CHECK(Version{2, 9, 0} < Version{2, 10, 0});
}

TEST_CASE("the fixed version of each series fixes the escapes, the one before does not") {
  for (const Version fixed : {Version{2, 28, 6}, Version{2, 29, 3}, Version{2, 30, 4}, Version{2, 31, 4},
                              Version{2, 32, 7}, Version{2, 33, 4}, Version{2, 34, 5}}) {
    CHECK_FALSE(escape_advisories(fixed).open);
    const auto before = escape_advisories({fixed.major, fixed.minor, fixed.patch - 1});
    CHECK(before.open);
    CHECK(before.fixed_in == fixed);
  }
  CHECK(escape_advisories({2, 8, 0}).open);
  CHECK_FALSE(escape_advisories({2, 8, 0}).fixed_in.has_value());
  CHECK_FALSE(escape_advisories({2, 35, 0}).open);
  CHECK_FALSE(escape_advisories({3, 0, 0}).open);
  // A warning that makes no claim about distributions' patches.
  const Finding finding = judge_advisories({2, 8, 0}, "nix-daemon");
  CHECK(finding.verdict == Verdict::warning);
  CHECK(finding.seen.find("cannot be seen from here") != finding.seen.npos);
  CHECK(judge_advisories({2, 31, 4}, "Nix").verdict == Verdict::ok);
  CHECK(judge_advisories({2, 31, 3}, "Nix").fix.find("2.31.4") != std::string::npos);
}

namespace {

// As nginx 1.22 prints it.
constexpr std::string_view dump = R"(# configuration file /etc/nginx/nginx.conf:
user www-data adm;  # a comment; with { braces }
events { worker_connections 768; }
http {
	log_format x '$remote_addr "it''s" {';
	include /etc/nginx/mime.types;
	include sites-enabled/*;
}

# configuration file /etc/nginx/mime.types:
types { text/html html; }
# configuration file /etc/nginx/sites-enabled/nixery:
include /usr/share/nixery/nginx/nixery-http.conf;
server {
  listen 127.0.0.1:8080;
  listen [::]:443 ssl http2;
  server_name registry.example.org;
  include /usr/share/nixery/nginx/nixery-locations.conf;
}
server { listen 81; return 404 "a \"quoted\" ; word"; }

# configuration file /usr/share/nixery/nginx/nixery-http.conf:
map "" $nixery_tree { default /srv/tree; }
upstream nixery_workers {
  server unix:/run/nixery/nixery.sock;
  server 127.0.0.1:9000 weight=2;
}
map $a $b { '~^(x)\.y{2}"' 1; ${c}d 2; }

# configuration file /usr/share/nixery/nginx/nixery-locations.conf:
location ~ "^/v2/(?<hex>[0-9a-f]{64})\z" { return 470; }
location @nixery_serve { root $nixery_directory; }
)";

}  // namespace

TEST_CASE("the output of nginx -T is parsed: files, nested blocks, quotes, comments") {
  const auto configuration = NginxConfiguration::parse(dump);
  REQUIRE(configuration.files().size() == 5);
  CHECK(configuration.files()[0].path == "/etc/nginx/nginx.conf");
  CHECK(configuration.user() == std::vector<std::string>{"www-data", "adm"});
  CHECK(configuration.http_part() == "/usr/share/nixery/nginx/nixery-http.conf");
  CHECK(configuration.locations_part() == "/usr/share/nixery/nginx/nixery-locations.conf");
  CHECK(configuration.tree() == "/srv/tree");
  CHECK(configuration.workers() == std::vector<std::string>{"unix:/run/nixery/nixery.sock", "127.0.0.1:9000"});
  const auto& site = configuration.files()[2];
  REQUIRE(site.directives.size() == 3);
  CHECK(site.directives[2].line == 8);
  CHECK(site.directives[2].block[1].words.back() == "a \"quoted\" ; word");
  const auto& map = configuration.files()[3].directives[2];
  REQUIRE(map.block.size() == 2);
  CHECK(map.block[0].words[0] == "~^(x)\\.y{2}\"");
  CHECK(map.block[1].words[0] == "${c}d");
}

TEST_CASE("the addresses are those of servers that include the locations, plain ones first") {
  const auto addresses = NginxConfiguration::parse(dump).addresses();
  REQUIRE(addresses.size() == 2);
  CHECK(addresses[0].address == "127.0.0.1:8080");
  CHECK_FALSE(addresses[0].tls);
  CHECK(addresses[1].address == "[::]:443");
  CHECK(addresses[1].tls);
  CHECK(addresses[1].server_name == "registry.example.org");
  CHECK(url_of(addresses[0]) == "http://127.0.0.1:8080");
  CHECK(url_of(addresses[1]) == "https://[::1]:443");
  CHECK(url_of({"80", false, ""}) == "http://127.0.0.1:80");
  CHECK(url_of({"*:8443", true, ""}) == "https://127.0.0.1:8443");
  CHECK(url_of({"example.org", false, ""}) == "http://example.org:80");
  CHECK(url_of({"[2001:db8::1]", false, ""}) == "http://[2001:db8::1]:80");
  CHECK(url_of({"unix:/run/x", false, ""}).empty());
}

TEST_CASE("parsing ends for any output") {
  for (const std::string_view text :
       {"", "# configuration file ", "# configuration file x:", "# configuration file x:\n}}}", "x",
        "# configuration file x:\n{{{{", "# configuration file x:\na \"b", "# configuration file x:\na \\"})
    CHECK_NOTHROW(NginxConfiguration::parse(text).addresses());
  const std::string deep = "# configuration file x:\n" + std::string(100'000, '{');
  CHECK(NginxConfiguration::parse(deep).files().size() == 1);
}

TEST_CASE("nginx and the worker may spell the same address differently") {
  CHECK(same_place("unix:/run/nixery/nixery.sock", "unix:/run//nixery/nixery.sock"));
  CHECK(same_place("localhost:9000", "127.0.0.1:9000"));
  CHECK(same_place("192.0.2.7:9000", "0.0.0.0:9000"));
  CHECK_FALSE(same_place("unix:/run/a", "unix:/run/b"));
  CHECK_FALSE(same_place("127.0.0.1:9000", "127.0.0.1:9001"));
  CHECK_FALSE(same_place("192.0.2.7:9000", "127.0.0.1:9000"));
  CHECK_FALSE(same_place("unix:/run/a", "127.0.0.1:9000"));
}

TEST_CASE("nginx's own error is reported, without its process id") {
  Nginx nginx;
  nginx.program = "nginx";
  nginx.said =
      "nginx: [warn] something\n2026/01/01 00:00:00 [emerg] 17#18: unknown directive \"x\" in /etc/nginx/nginx.conf:3\n"
      "nginx: configuration file /etc/nginx/nginx.conf test failed\n";
  CHECK(check_nginx_configuration(nginx, true).seen ==
        "nginx does not take its default configuration: unknown directive \"x\" in /etc/nginx/nginx.conf:3");
  CHECK(check_nginx_configuration(nginx, true).verdict == Verdict::failure);
  CHECK(check_nginx_configuration(nginx, false).verdict == Verdict::warning);
  nginx.version = Version{1, 18, 0};
  CHECK(check_nginx_version(nginx).verdict == Verdict::failure);
  nginx.version = Version{1, 22, 0};
  CHECK(check_nginx_version(nginx).verdict == Verdict::ok);
}

TEST_CASE("a mode's bits are the owner's, else the group's, else everybody's") {
  struct stat status {};
  status.st_uid = 1;
  status.st_gid = 2;
  status.st_mode = S_IFREG | 0640;
  const os::User owner{"o", 1, 9, {9}, ""}, member{"m", 3, 9, {9, 2}, ""}, other{"x", 4, 4, {4}, ""},
      root{"r", 0, 0, {0}, ""};
  CHECK(os::allowed_by_mode(status, owner, {.read = true, .write = true}));
  CHECK(os::allowed_by_mode(status, member, {.read = true}));
  CHECK_FALSE(os::allowed_by_mode(status, member, {.write = true}));
  CHECK_FALSE(os::allowed_by_mode(status, other, {.read = true}));
  CHECK(os::allowed_by_mode(status, root, {.read = true, .write = true}));
  status.st_mode = S_IFREG | 0077;  // the owner's bits apply to the owner, even if others have more
  CHECK_FALSE(os::allowed_by_mode(status, owner, {.read = true}));
}

TEST_CASE("disk space: too little fails, little warns") {
  CHECK(judge_room("r", "/x", {100'000'000'000, 10'000, 100'000}).verdict == Verdict::ok);
  CHECK(judge_room("r", "/x", {100'000'000'000, 0, 0}).verdict == Verdict::ok);  // btrfs counts no inodes
  CHECK(judge_room("r", "/x", {1'000'000'000, 10'000, 100'000}).verdict == Verdict::warning);
  CHECK(judge_room("r", "/x", {100'000'000'000, 4'000, 100'000}).verdict == Verdict::warning);
  CHECK(judge_room("r", "/x", {100'000'000, 10'000, 100'000}).verdict == Verdict::failure);
  CHECK(judge_room("r", "/x", {100'000'000'000, 10, 100'000}).verdict == Verdict::failure);
  CHECK(judge_room("r", "/x", {7'000'000'000, 0, 0, 8'000'000'000}).verdict == Verdict::failure);
  CHECK(judge_room("r", "/x", {7'000'000'000, 0, 0, 6'000'000'000}).verdict == Verdict::ok);
}

TEST_CASE("how Nix builds is read from its configuration") {
  const auto json = [](std::string_view sandbox, std::string_view group) {
    return fmt::format(R"({{"sandbox":{{"value":{}}},"build-users-group":{{"value":"{}"}}}})", sandbox, group);
  };
  const auto verdicts = [](const std::vector<Finding>& findings) {
    std::string text;
    for (const Finding& finding : findings) text += fmt::format("{}:{} ", finding.name, name_of(finding.verdict));
    return text;
  };
  CHECK(verdicts(judge_building(json("true", "nixbld"), {true, false, 0})) == "nix.sandbox:ok ");
  CHECK(verdicts(judge_building(json("false", "nixbld"), {true, false, 0})) == "nix.sandbox:warning ");
  CHECK(verdicts(judge_building(json("\"relaxed\"", "nixbld"), {true, false, 0})) == "nix.sandbox:warning ");
  CHECK(verdicts(judge_building(json("true", "nixbld"), {false, true, 0})) ==
        "nix.sandbox:ok nix.build-users:failure ");
  CHECK(verdicts(judge_building(json("true", "nixbld"), {false, true, 32})) == "nix.sandbox:ok nix.build-users:ok ");
  CHECK(verdicts(judge_building(json("true", ""), {false, true, 0})) == "nix.sandbox:ok nix.build-users:warning ");
  CHECK(verdicts(judge_building(json("true", "x"), {false, false, 0})) == "nix.sandbox:ok nix.build-users:warning ");
  CHECK(verdicts(judge_building("", {false, true, 0})) == "nix.sandbox:warning ");
}

TEST_CASE("a FastCGI request and the status of its answer") {
  const std::string request = fastcgi_request({{"A", std::string(200, 'b')}});
  CHECK(request.substr(0, 16) == std::string("\1\1\0\1\0\10\0\0\0\1\0\0\0\0\0\0", 16));
  // Name's length, value's length in four bytes, both texts.
  CHECK(request.substr(16, 14) == std::string("\1\4\0\1\0\xce\0\0\1\x80\0\0\xc8"
                                              "A",
                                              14));
  CHECK(request.size() == 16 + 8 + 206 + 8 + 8);
  CHECK(status_of_cgi_answer("Status: 404 Not Found\r\nX: y\r\n\r\n{}") == 404);
  CHECK(status_of_cgi_answer("Content-Type: x\r\n\r\n") == 200);
  CHECK(status_of_cgi_answer("nonsense") == 0);
}

TEST_CASE("the response of /readyz is reported") {
  CHECK(judge_readiness("Content-Type: application/json\r\n\r\n{\"ready\":true,\"checks\":{}}").verdict == Verdict::ok);
  const Finding finding = judge_readiness(
      "Status: 503 Service Unavailable\r\n\r\n{\"ready\":false,\"checks\":{\"nix\":{\"ok\":true},\"tree\":{\"ok\":"
      "false,\"why\":\"cannot write\"},\"state\":{\"ok\":false,\"why\":\"full\"}}}");
  CHECK(finding.verdict == Verdict::failure);
  CHECK(finding.seen == "the worker says that it is not ready: tree: cannot write; state: full");
  CHECK(judge_readiness("Status: 503 x\r\n\r\nno JSON").seen.ends_with("status 503"));
  CHECK(judge_readiness("Status: 404 x\r\n\r\n[]").seen.ends_with("status 404"));
}

TEST_CASE("the limit of open files is read from /proc") {
  CHECK(open_files_limit("Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 4096  "
                         "files\nMax locked memory  1 2 bytes\n") == 1024);
  CHECK(open_files_limit("Max open files            unlimited            unlimited            files\n") == 0);
  CHECK(open_files_limit("") == 0);
}

TEST_CASE("checks run in parallel; exceptions and checks that do not end are reported") {
  const auto checkup = run_checks({{"good", [] { return std::vector{ok("good", "fine")}; }},
                                   {"thrown", []() -> std::vector<Finding> { throw std::runtime_error("the reason"); }},
                                   {"none", [] { return std::vector<Finding>{}; }}},
                                  std::chrono::seconds(60));
  CHECK_FALSE(checkup.overdue);
  REQUIRE(checkup.findings.size() == 2);
  CHECK(checkup.findings[0].seen == "fine");
  CHECK(checkup.findings[1].verdict == Verdict::failure);
  CHECK(checkup.findings[1].seen == "the reason");
}

TEST_CASE("a Nix that cannot build is a failure with its cause and, if one command fixes it, that command") {
  CHECK(judge_build("").verdict == Verdict::ok);
  const Finding users = judge_build("the group 'nixbld' specified in 'build-users-group' does not exist");
  CHECK(users.seen == "nix cannot build: the group 'nixbld' specified in 'build-users-group' does not exist");
  CHECK_MESSAGE(users.command.starts_with("getent group nixbld >/dev/null || groupadd -r nixbld; "), users.command);
  CHECK(judge_build("the build users group 'nixbld' has no members").command == users.command);
  CHECK(judge_build("the build users group 'a; rm -rf' has no members").command.empty());
  CHECK(judge_build("/nix/store has the setgid bit, which ...").command == "chmod g-s /nix/store");
  CHECK(judge_build("/nix two/x has the setgid bit, which ...").command == "chmod g-s '/nix two/x'");
  CHECK(judge_build("No space left on device: /nix/store is full").fix.find("nix-collect-garbage") !=
        std::string::npos);
  CHECK(judge_build("creating pipe: Too many open files").fix.find("LimitNOFILE") != std::string::npos);
  CHECK(judge_build("getting status of '/x': No such file or directory").verdict == Verdict::failure);
}

TEST_CASE("any path is one word of a command") {
  CHECK(shell_word("/srv/nixery/tree") == "/srv/nixery/tree");
  CHECK(shell_word("/srv/two words") == "'/srv/two words'");
  CHECK(shell_word("/srv/it's") == "'/srv/it'\\''s'");
  CHECK(shell_word("/srv/$(reboot)") == "'/srv/$(reboot)'");
  CHECK(shell_word("") == "''");
}
