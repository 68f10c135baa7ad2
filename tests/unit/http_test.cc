#include <doctest/doctest.h>

#include <map>

#include "http/answers.h"
#include "http/message.h"

using namespace nixery;

namespace {

http::Request request_of(std::map<std::string, std::string> variables) {
  return http::read_request([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string header_of(const http::Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

}  // namespace

TEST_CASE("a request is read from its variables, path decoded, query not") {
  const auto request = request_of({{"REQUEST_METHOD", "GET"}, {"REQUEST_URI", "/v2/a%2Fb/manifests/x?ns=h%2F"}});
  CHECK(request.path == "/v2/a/b/manifests/x");
  CHECK(request.query == "ns=h%2F");
  CHECK(request_of({{"SCRIPT_NAME", ""}, {"PATH_INFO", "/v2/"}, {"QUERY_STRING", "a=b"}}).target == "/v2/?a=b");
}

TEST_CASE("a path with a malformed escape stays as it is") {
  CHECK(request_of({{"REQUEST_URI", "/v2/%zz"}}).path == "/v2/%zz");
}

TEST_CASE("a redirect keeps the query and increments the hop counter") {
  auto request = request_of({{"REQUEST_URI", "/v2/git/manifests/latest?ns=host"}});
  auto response = http::answer_redirect(request, http::hop_of(request) + 1);
  CHECK(response.status == 307);
  CHECK(header_of(response, "Location") == "/v2/git/manifests/latest?ns=host&nixery-hop=1");
  CHECK(header_of(response, "Cache-Control") == "no-store");
  request = request_of({{"REQUEST_URI", header_of(response, "Location")}});
  CHECK(http::hop_of(request) == 1);
  CHECK(header_of(http::answer_redirect(request, 2), "Location") == "/v2/git/manifests/latest?ns=host&nixery-hop=2");
}

TEST_CASE("a permanent failure is a 4xx with its message; a transient one has Retry-After") {
  const auto unknown = http::answer_error(Error(Failure::unknown_package, "no package 'crul': did you mean 'curl'?"));
  CHECK(unknown.status == 404);
  CHECK(unknown.body ==
        "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"no package 'crul': did you mean 'curl'?\","
        "\"detail\":{\"failure\":\"unknown_package\"}}]}\n");
  CHECK(header_of(unknown, "Retry-After").empty());
  for (const Failure failure : {Failure::too_busy, Failure::unavailable, Failure::storage, Failure::still_building})
    CHECK_FALSE(header_of(http::answer_error(Error(failure, "x")), "Retry-After").empty());
  CHECK(http::answer_error(Error(Failure::still_building, "x")).status == 429);
  CHECK(http::answer_error(Error(Failure::too_busy, "x")).status == 429);
  CHECK(http::answer_error(Error(Failure::unavailable, "x")).status == 503);
  CHECK(http::answer_error(Error(Failure::storage, "x")).status == 503);
  CHECK(http::answer_error(Error(Failure::build_failed, "x")).status == 424);
}

TEST_CASE("a failed build's message ends with its log; internal errors stay in the operator's log") {
  CHECK(http::answer_error(Error(Failure::build_failed, "failed", "last line")).body.find("failed\\nlast line") !=
        std::string::npos);
  CHECK(http::answer_error(Error(Failure::storage, "cannot write /var/x")).body.find("/var/x") == std::string::npos);
}

TEST_CASE("no control character of a build log reaches the client's terminal, in any encoding") {
  const auto answer =
      http::answer_error(Error(Failure::build_failed, "x", "\x1b[31mred\x07\xc2\x9b\xc2\xc2\x9b\x9b\tok \xc2\xa9"));
  CHECK(answer.body.find("\\u001B") == std::string::npos);
  CHECK(answer.body.find("\xc2\x9b") == std::string::npos);
  CHECK(answer.body.find("[31m") == std::string::npos);
  CHECK(answer.body.find("red") != std::string::npos);
  CHECK(answer.body.find("\\tok \xc2\xa9") != std::string::npos);
}
