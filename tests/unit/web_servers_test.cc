#include "http/web_servers.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <string>

#include "error.h"

using namespace nixery;
using http::WebServers;

namespace {

sockaddr_storage peer(const std::string& address) {
  sockaddr_storage storage{};
  if (auto* v4 = reinterpret_cast<sockaddr_in*>(&storage); inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    return storage;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  REQUIRE(inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1);
  v6->sin6_family = AF_INET6;
  return storage;
}

}  // namespace

TEST_CASE("a web server is recognised by its address in any notation") {
  const auto servers = WebServers::parse("10.0.0.7, 2001:DB8:0::7,\t::ffff:10.0.0.8");
  for (const char* known :
       {"10.0.0.7", "::ffff:10.0.0.7", "::ffff:a00:7", "2001:db8::7", "2001:db8:0:0:0:0:0:7", "10.0.0.8"}) {
    CAPTURE(known);
    CHECK(servers.contains(peer(known)));
  }
  for (const char* unknown : {"10.0.0.70", "110.0.0.7", "2001:db8::70", "::10.0.0.7", "127.0.0.1"}) {
    CAPTURE(unknown);
    CHECK_FALSE(servers.contains(peer(unknown)));
  }
  sockaddr_storage other{};
  other.ss_family = AF_UNIX;
  CHECK_FALSE(servers.contains(other));
}

TEST_CASE("an invalid address in the list of web servers is refused") {
  for (const char* list : {"10.0.0.7,web.example.org", "10.0.0.0/8", "10.0.0.7,,10.0.0.8", "10.0.0.256", " "}) {
    CAPTURE(list);
    CHECK_THROWS_WITH_AS(WebServers::parse(list), doctest::Contains("is no IP address"), Error);
  }
}
