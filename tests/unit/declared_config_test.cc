// The fields of a declared image that say how its containers run, and its own users and files.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "error.h"
#include "pipeline/declared_set.h"
#include "reference/declared.h"
#include "reference/declared_fields.h"
#include "temporary_directory.h"

using namespace nixery;
using namespace std::chrono_literals;

namespace {

reference::DeclaredImage declared(const std::string& fields) {
  return reference::parse_declared(
      R"({"name": "web", "contents": ["nginx"])" + (fields.empty() ? "" : ", " + fields) + "}", "web.json");
}

reference::ImageConfig config(const std::string& fields) {
  return declared(R"("config": {)" + fields + "}").config;
}

// All problems, one a line.
std::string problems(const std::string& fields) {
  try {
    declared(fields);
  } catch (const Error& error) {
    return error.detail().empty() ? error.what() : error.detail();
  }
  return "";
}

void check_problem(const std::string& fields, std::string_view part) {
  const std::string text = problems(fields);
  CHECK_MESSAGE(text.find(part) != std::string::npos, "'" << part << "' is not in: " << text);
}

void check_config_problem(const std::string& fields, std::string_view part) {
  check_problem(R"("config": {)" + fields + "}", part);
}

std::string hash(const std::string& fields) {
  return pipeline::declaration_hash(declared(fields));
}

}  // namespace

TEST_CASE("stop signal, volumes, shell and health check of a declared image are read") {
  const auto read = config(R"("stopSignal": "SIGRTMIN+3", "volumes": ["/logs", "/data"], "shell": ["/bin/bash", "-c"],
      "healthcheck": {"test": ["CMD", "curl", "-f", "http://localhost/"], "interval": "1m30s", "timeout": "500ms",
                      "startPeriod": "1h", "startInterval": "2s", "retries": 3})");
  CHECK(read.stop_signal == "SIGRTMIN+3");
  CHECK(read.volumes == std::vector<std::string>{"/data", "/logs"});
  CHECK(read.shell == std::vector<std::string>{"/bin/bash", "-c"});
  REQUIRE(read.healthcheck);
  CHECK(*read.healthcheck == reference::Healthcheck{{"CMD", "curl", "-f", "http://localhost/"}, 90s, 500ms, 1h, 2s, 3});
  const auto command = config(R"("healthcheck": {"test": "exit 1"})").healthcheck;
  CHECK(command == config(R"("healthcheck": {"test": ["CMD-SHELL", "exit 1"]})").healthcheck);
  CHECK(config(R"("healthcheck": {"test": ["NONE"]})").healthcheck->test == std::vector<std::string>{"NONE"});
}

TEST_CASE("a mistake in how a container runs is reported with its field") {
  check_config_problem(R"("stopSignal": "TERM")", "config.stopSignal: 'TERM' is not a signal");
  check_config_problem(R"("stopSignal": 15)", "config.stopSignal: this is a number: give a signal");
  check_config_problem(R"("volumes": {"/data": {}})", "config.volumes: this is an object: give a list");
  check_config_problem(R"("volumes": ["/data", "data"])", "config.volumes[1]: 'data' is not an absolute path");
  check_config_problem(R"("volumes": ["/nix"])", "config.volumes[0]: '/nix' is in a directory of the packages");
  check_config_problem(R"("volumes": ["/data", "/data"])", "config.volumes[1]: '/data' is listed twice");
  check_config_problem(R"("shell": [])", "config.shell: this is empty");
  check_config_problem(R"("shell": "bash")", "config.shell: this is a string: give a list");
  check_config_problem(R"("onBuild": ["RUN true"])", "config.onBuild: this is not supported: these instructions would");
  check_config_problem(R"("healthcheck": "curl")", "config.healthcheck: this is a string: give an object");
  check_config_problem(R"("healthcheck": {})", "config.healthcheck: the field 'test' is missing");
  for (const char* test :
       {R"([])", R"(["curl"])", R"(["NONE", "x"])", R"(["CMD"])", R"(["CMD", ""])", R"(["CMD-SHELL", "a", "b"])"})
    check_config_problem(R"("healthcheck": {"test": )" + std::string(test) + "}",
                         "config.healthcheck.test: give [\"CMD\", program");
  check_config_problem(R"("healthcheck": {"test": ""})", "config.healthcheck.test: this is empty");
  check_config_problem(R"("healthcheck": {"test": "a", "interval": 30})",
                       "config.healthcheck.interval: this is a number: give a time");
  check_config_problem(R"("healthcheck": {"test": "a", "startPeriod": "30"})",
                       "config.healthcheck.startPeriod: '30' is not a time: give 1ms to 24h");
  check_config_problem(R"("healthcheck": {"test": "a", "retries": 0})",
                       "config.healthcheck.retries: give a whole number from 1 to 1000");
  check_config_problem(R"("healthcheck": {"test": "a", "retries": "3"})",
                       "config.healthcheck.retries: this is a string: give a whole number");
  check_config_problem(R"("healthcheck": {"test": "a", "start_period": "1s"})", "did you mean 'startPeriod'?");
}

TEST_CASE("signals, times and paths must have the right form") {
  using namespace reference;
  for (const char* good : {"SIGTERM", "SIGRTMIN", "SIGRTMIN+15", "SIGRTMAX-14", "1", "64"})
    CHECK_MESSAGE(is_signal(good), good);
  for (const char* bad : {"", "SIG", "sigterm", "SIGFOO", "SIGRTMIN+16", "SIGRTMIN+0", "SIGTERM ", "0", "65", "015"})
    CHECK_FALSE_MESSAGE(is_signal(bad), bad);
  CHECK(healthcheck_time("1h1m1s1ms") == 3'661'001ms);
  CHECK(healthcheck_time("24h") == 24h);
  for (const char* bad : {"", "0s", "30", "s", "1d", "-1s", "1.5s", "1 s", "24h1ms", "99999999999h", "4294967295ms"})
    CHECK_FALSE_MESSAGE(healthcheck_time(bad), bad);
  for (const char* good : {"/srv", "/a b", "/nixos", "/.a", "/a..b", "/device"})
    CHECK_FALSE_MESSAGE(problem_of_image_path(good), good);
  for (const char* bad : {"", "/", "a", "/a/", "//a", "/a//b", "/a/./b", "/..", "/a/..", "/nix", "/nix/store/x",
                          "/proc/1", "/sys", "/dev/null", "/a\n"})
    CHECK_MESSAGE(problem_of_image_path(bad), bad);
  CHECK(problem_of_image_path("/" + std::string(4095, 'a')));
}

TEST_CASE("fields that are not set leave a declaration's hash as earlier versions computed it") {
  CHECK(hash("") == "85fa86e0823633bfe501537caec613bf259b4352cab50148450e4a775840fd0b");
  CHECK(hash(R"("platform":"arm64","source":"nixos-24.05","config":{"entrypoint":["nginx"],"cmd":["-g"],
      "env":{"LANG":"C"},"user":"101:101","workdir":"/srv","labels":{"team":"web"},"exposedPorts":["80/tcp"]})") ==
        "fdbbcf14cbddca97bd7f4c80c71daa7afdd9c23908c8b254aa56310013ed4f8d");
  for (const char* field : {R"("stopSignal": "SIGQUIT")", R"("volumes": ["/data"])", R"("shell": ["bash"])",
                            R"("healthcheck": {"test": "a"})"})
    CHECK_MESSAGE(hash(R"("config": {)" + std::string(field) + "}") != hash(""), field);
  for (const char* field : {R"("interval": "1s")", R"("timeout": "1s")", R"("startPeriod": "1s")",
                            R"("startInterval": "1s")", R"("retries": 1)"})
    CHECK_MESSAGE(hash(R"("config": {"healthcheck": {"test": "a", )" + std::string(field) + "}}") !=
                      hash(R"("config": {"healthcheck": {"test": "a"}})"),
                  field);
}

TEST_CASE("names of users become numbers, and numbers stay as they are") {
  const auto user = [](const std::string& text) { return config(R"("user": ")" + text + '"').user; };
  CHECK(user("nobody") == "65534:65534");
  CHECK(user("root") == "0:0");
  CHECK(user("nobody:nobody") == "65534:65534");
  CHECK(user("nobody:0") == "65534:0");
  CHECK(user("nobody:tty") == "65534:5");
  CHECK(user("1000") == "1000");
  CHECK(user("0") == "0");
  CHECK(user("1000:50") == "1000:50");
  CHECK(user("1000:nobody") == "1000:65534");
  CHECK(user("4294967294:4294967294") == "4294967294:4294967294");
  CHECK(user("").empty());
  CHECK(declared(R"("users": [{"name": "web", "uid": 101, "gid": 7}], "config": {"user": "web"})").config.user ==
        "101:7");
  check_config_problem(
      R"("user": "postgres")",
      "config.user: 'postgres' is not a user of the image, which has root, daemon, bin, mail, nobody: ");
  check_config_problem(R"("user": "nobody:sudo")", "config.user: 'sudo' is not a group of the image, which has root, ");
  check_problem(R"("users": [{"name": "web", "uid": 101}], "config": {"user": "wbe"})", "mail, nobody, web: give one");
  for (const char* bad : {":", "1:", ":1", "a:b", "-1", "01", "4294967295", "1:1:1", "Root", "99999999999999999999999"})
    CHECK_THROWS_AS(user(bad), Error);
}

TEST_CASE("users, directories and files of a declaration are read with their defaults") {
  const auto read = declared(R"("users": [{"name": "web", "uid": 101}, {"name": "_a-1", "uid": 7, "gid": 0,
                                           "home": "/srv", "shell": "/bin/bash"}],
      "directories": [{"path": "/srv/data", "owner": "web", "mode": "0700"}, {"path": "/run/web"}],
      "files": [{"path": "/etc/web.conf", "content": "a\nb", "owner": "0:web", "mode": "640"},
                {"path": "/etc/a", "content": "", "owner": "9"}])")
                        .config.additions;
  CHECK(read.users ==
        std::vector<reference::DeclaredUser>{{"_a-1", 7, 0, "/srv", "/bin/bash"}, {"web", 101, 101, "/home/web", ""}});
  CHECK(read.directories ==
        std::vector<reference::DeclaredDirectory>{{"/run/web", {0, 0}, 0755}, {"/srv/data", {101, 101}, 0700}});
  CHECK(read.files ==
        std::vector<reference::DeclaredFile>{{"/etc/a", "", {9, 9}, 0644}, {"/etc/web.conf", "a\nb", {0, 101}, 0640}});
}

TEST_CASE("a mistake in users, directories and files is reported with its field") {
  check_problem(R"("users": {})", "users: this is an object: give a list of objects");
  check_problem(R"("users": ["web"])", "users[0]: this is a string: give an object");
  check_problem(R"("users": [{"uid": 1}])", "users[0]: the field 'name' is missing");
  check_problem(R"("users": [{"name": "web"}])", "users[0]: the field 'uid' is missing");
  check_problem(R"("users": [{"name": "Web", "uid": 7}])", "users[0].name: 'Web' is not a user's name");
  check_problem(R"("users": [{"name": "web", "uid": "7"}])", "users[0].uid: this is a string: give a whole number");
  check_problem(R"("users": [{"name": "web", "uid": 4294967295}])", "users[0].uid: give a whole number from 0 to");
  check_problem(R"("users": [{"name": "root", "uid": 7}])", "users[0]: the user 'root' exists already");
  check_problem(R"("users": [{"name": "web", "uid": 65534}])", "users[0]: the uid 65534 is that of 'nobody'");
  check_problem(R"("users": [{"name": "sys", "uid": 7}])", "users[0]: the group 'sys' exists already, with another");
  check_problem(R"("users": [{"name": "a", "uid": 7}, {"name": "a", "uid": 9}])", "users[1]: the user 'a' exists");
  check_problem(R"("users": [{"name": "a", "uid": 7, "home": "/a:b"}])", "users[0].home: a ':' is not allowed");
  check_problem(R"("users": [{"name": "a", "uid": 7, "home": "a"}])", "users[0].home: 'a' is not an absolute path");
  check_problem(R"("directories": [{"mode": "0755"}])", "directories[0]: the field 'path' is missing");
  check_problem(R"("directories": [{"path": "/a/../b"}])", "directories[0].path: '/a/../b' has an empty part");
  check_problem(R"("directories": [{"path": "/nix/a"}])", "directories[0].path: '/nix/a' is in a directory of the");
  check_problem(R"("directories": [{"path": "/a", "owner": "web"}])", "directories[0].owner: 'web' is not a user");
  for (const char* mode : {"755", "0755", "1777"})
    CHECK(problems(R"("directories": [{"path": "/a", "mode": ")" + std::string(mode) + "\"}]") == "");
  for (const char* mode : {"", "75", "00755", "0758", "rwx", "-755"})
    check_problem(R"("directories": [{"path": "/a", "mode": ")" + std::string(mode) + "\"}]", "is not a mode: give");
  check_problem(R"("directories": [{"path": "/a", "mode": 755}])",
                "directories[0].mode: this is a number: give an octal");
  check_problem(R"("files": [{"path": "/a"}])", "files[0]: the field 'content' is missing");
  check_problem(R"("files": [{"path": "/etc/passwd", "content": ""}])",
                "files[0].path: the image writes this file: give");
  check_problem(R"("files": [{"path": "/a", "content": ")" + std::string(65537, 'x') + "\"}]",
                "files[0].content: this is 65537 bytes long; at most 65536");
  CHECK(problems(R"("files": [{"path": "/a", "content": ")" + std::string(65536, 'x') + "\"}]") == "");
  check_problem(R"("files": [{"path": "/a", "content": ""}, {"path": "/a", "content": ""}])", "'/a' is given twice");
  check_problem(R"("files": [{"path": "/a", "content": ""}], "directories": [{"path": "/a"}])", "'/a' is given twice");
  check_problem(R"("files": [{"path": "/a", "content": ""}, {"path": "/a/b/c", "content": ""}])",
                "'/a' is a file and cannot hold '/a/b/c'");
  std::string many;
  for (int i = 0; i < 65; ++i) many += fmt::format("{}{{\"path\": \"/{}\", \"content\": \"\"}}", i ? "," : "", i);
  check_problem("\"files\": [" + many + "]", "files: 65 entries; at most 64 are allowed");
  check_config_problem(R"("users": [])", "config.users: this is no part of 'config': give it beside 'config'");
}

TEST_CASE("the hash covers users, directories and files, and not their order") {
  const std::string a = R"({"path": "/a", "content": "1"})", b = R"({"path": "/b", "content": "1"})";
  CHECK(hash("\"files\": [" + a + "," + b + "]") == hash("\"files\": [" + b + "," + a + "]"));
  CHECK(hash(R"("users": [], "files": [])") == hash(""));
  std::set<std::string> hashes{hash("")};
  for (const char* fields :
       {R"("users": [{"name": "a", "uid": 7}])", R"("users": [{"name": "a", "uid": 9}])",
        R"("users": [{"name": "a", "uid": 7, "gid": 9}])", R"("users": [{"name": "a", "uid": 7, "home": "/b"}])",
        R"("users": [{"name": "a", "uid": 7, "shell": "/b"}])", R"("directories": [{"path": "/a"}])",
        R"("directories": [{"path": "/a", "owner": "7"}])", R"("directories": [{"path": "/a", "mode": "700"}])",
        R"("files": [{"path": "/a", "content": ""}])", R"("files": [{"path": "/a", "content": "b"}])",
        R"("files": [{"path": "/a", "content": "", "owner": "0:7"}])",
        R"("files": [{"path": "/a", "content": "", "mode": "600"}])", R"("config": {"user": "nobody"})"})
    CHECK_MESSAGE(hashes.insert(hash(fields)).second, fields);
}

TEST_CASE("the name of an invalid declaration is read as far as possible") {
  const auto name = [](std::string_view text) {
    const auto found = reference::name_in_invalid(text);
    return found ? found->name + ":" + found->tag : "";
  };
  CHECK(name(R"({"name": "team/a", "tag": "v1"})") == "team/a:v1");
  CHECK(name(R"({"users": [{"name": "b"}], "name": "a"})") == "a:latest");
  CHECK(name(R"({"name": "a", "tag": 7})") == "a:latest");
  CHECK(name(R"({"name": "a", "tag": "-"})") == "a:");
  CHECK(name(R"({"name" : "a", "contents": ["x"],})") == "a:");
  CHECK(name(R"({"tag": "v1", "name": "a", "contents")") == "a:v1");
  for (const char* text : {"", "{", "[]", R"({"name": 7)", R"({"name": "a)", R"({"name")", R"({"name": "A", )"})
    CHECK_MESSAGE(name(text) == "", text);
}

TEST_CASE("a pull of an invalid declaration gets its problems, and others are not affected") {
  const test::TemporaryDirectory top;
  const auto directory = top.path() / "images";
  std::filesystem::create_directory(directory);
  const auto write = [&](const char* file, const char* text) { std::ofstream(directory / file) << text; };
  write("a.json", R"({"name": "web", "tag": "v1", "contents": ["nginx"]})");
  write("b.json", R"({"name": "web", "tag": "v2", "contents": [], "config": {"user": "x"}})");
  write("c.json", R"({"name": "api", "contents": ["x"],})");
  pipeline::DeclaredSet set(directory, 0ms);
  const auto failure = [&](const char* name, const char* tag) -> std::string {
    try {
      find_reference(*set.current(), name, tag);
    } catch (const Error& error) {
      return fmt::format("{}: {}", name_of(error.failure()), error.what());
    }
    return "";
  };
  CHECK(failure("web", "v1") == "");
  CHECK(failure("web", "v2")
            .starts_with("bad_declaration: the declaration of 'web' is invalid: images/b.json: contents: this is "
                         "empty: name at least one "
                         "package; images/b.json: config.user: 'x' is not a user"));
  CHECK(failure("web", "v3").starts_with("unknown_tag: "));
  CHECK(failure("api", "v9").starts_with("bad_declaration: the declaration of 'api' is invalid: images/c.json: byte "));
  CHECK(failure("api", "v9") == failure("api", "v9"));  // the unchanged file is not parsed again
  CHECK(failure("nginx", "latest") == "");

  write("b.json", R"({"name": "web", "tag": "v2", "contents": ["nginx"]})");
  CHECK(failure("web", "v2") == "");
  write("b.json", "{");
  CHECK(failure("web", "v2") == "");  // its previous declaration stays in force
  std::filesystem::remove(directory / "c.json");
  CHECK(failure("api", "latest") == "");
}
