// The fields of a declared image that say how its containers run, and its own users and files.
#include <doctest/doctest.h>

#include "error.h"
#include "pipeline/declared_set.h"
#include "reference/declared.h"
#include "reference/declared_fields.h"

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
