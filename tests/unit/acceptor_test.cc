#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "http/acceptor.h"
#include "http/fastcgi.h"
#include "http/request_head.h"
#include "temporary_directory.h"

using namespace nixery;
using namespace std::chrono_literals;

namespace {

std::string record(unsigned type, std::string_view content, unsigned request = 1) {
  std::string bytes{'\1', static_cast<char>(type), '\0', static_cast<char>(request), '\0', '\0', '\0', '\0'};
  bytes[4] = static_cast<char>(content.size() >> 8);
  bytes[5] = static_cast<char>(content.size() & 255);
  return bytes.append(content);
}

const std::string begin = record(1, std::string("\0\1\0\0\0\0\0\0", 8));
const std::string whole = begin + record(4, "\x0b\x01REQUEST_URI/") + record(4, "");

// A complete request from the web server on behalf of a client.
std::string request_of(std::string_view client) {
  std::string pair = "\x0b";
  pair += static_cast<char>(client.size());
  return begin + record(4, pair + "REMOTE_ADDR" + std::string(client)) + record(4, "\x0b\x01REQUEST_URI/") +
         record(4, "");
}

os::Fd connect_tcp(const sockaddr_in& to, const char* from) {
  os::Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{};
  own.sin_family = AF_INET;
  REQUIRE(inet_pton(AF_INET, from, &own.sin_addr) == 1);
  REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) == 0);
  REQUIRE(connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  return fd;
}

sockaddr_in address_of(const http::Listener& listener) {
  sockaddr_in name{};
  socklen_t size = sizeof name;
  REQUIRE(getsockname(listener.fd.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
  return name;
}

struct TestAcceptor {
  const test::TemporaryDirectory dir;
  const std::string path = (dir.path() / "s").string();
  http::Acceptor acceptor;

  explicit TestAcceptor(http::AcceptorLimits limits) : acceptor(http::find_listener("unix:" + path), limits) {}
  // Connects and sends `bytes`; an empty Fd if nothing listens. The acceptor may see the connection before the bytes.
  os::Fd connect_and_send(std::string_view bytes) const { return connect_and_send(path, bytes); }
  static os::Fd connect_and_send(const std::string& path, std::string_view bytes) {
    os::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) return {};
    send(fd, bytes);
    return fd;
  }
  static void send(const os::Fd& fd, std::string_view bytes) {
    REQUIRE(write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
};

// Whether the other end is closed within a minute.
bool is_closed(const os::Fd& client) {
  char byte;
  pollfd readable{client.get(), POLLIN, 0};
  return poll(&readable, 1, 60'000) == 1 && read(client.get(), &byte, 1) <= 0;
}

}  // namespace

TEST_CASE("a request is complete with its last parameter") {
  using http::RequestState;
  const auto request_state = [](std::string_view bytes) { return http::read_head(bytes).state; };
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK(request_state(whole.substr(0, size)) == RequestState::incomplete);
  }
  CHECK(request_state(whole) == RequestState::complete);
  CHECK(request_state(whole + record(5, "")) == RequestState::complete);
  CHECK(request_state(record(9, "", 0) + whole) == RequestState::complete);
  // Input for which libfcgi would continue to read.
  CHECK(request_state(record(4, "")) == RequestState::malformed);
  CHECK(request_state(begin + record(4, "", 2)) == RequestState::incomplete);
  CHECK(request_state("GET / HTTP/1.1\r\n\r\n") == RequestState::malformed);
}

TEST_CASE("the client's address is read from a complete request, however its parameters are split into records") {
  const auto client_of = [](const std::string& bytes) { return http::read_head(bytes).client; };
  CHECK(client_of(request_of("192.0.2.7")) == "192.0.2.7");
  CHECK(client_of(whole) == "");
  const std::string long_pair = std::string("\x80\0\0\x0b\x80\0\0\x09REMOTE_ADDR192.0.2.8", 28);
  CHECK(client_of(begin + record(4, long_pair) + record(4, "")) == "192.0.2.8");
  CHECK(client_of(begin + record(4, long_pair.substr(0, 2)) + record(4, long_pair.substr(2, 15)) +
                  record(4, long_pair.substr(17)) + record(4, "")) == "192.0.2.8");
  CHECK(client_of(begin + record(4, "\x01\x01xy" + long_pair) + record(4, "")) == "192.0.2.8");
  // Wrong lengths.
  CHECK(client_of(begin + record(4, std::string("\x80\0", 2)) + record(4, "")) == "");
  CHECK(client_of(begin + record(4, "\x0b\x7fREMOTE_ADDR192") + record(4, "")) == "");
  CHECK(client_of(begin +
                  record(4,
                         "\xff\xff\xff\xff\xff\xff\xff\xff"
                         "REMOTE_ADDR") +
                  record(4, "")) == "");
}

TEST_CASE("clients take turns: many requests of one do not delay the first of another") {
  TestAcceptor server({200, 1h});
  std::vector<os::Fd> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(server.connect_and_send(request_of("192.0.2.7")));
  clients.push_back(server.connect_and_send(request_of("192.0.2.8")));
  clients.push_back(server.connect_and_send(request_of("2001:db8::1")));
  server.acceptor.close();  // returns when all are ready
  std::vector<std::string> order;
  while (os::Fd connection = server.acceptor.next())
    order.push_back(http::Exchange::read(std::move(connection))->request().client);
  CHECK(order ==
        std::vector<std::string>{"192.0.2.7", "192.0.2.8", "2001:db8::1", "192.0.2.7", "192.0.2.7", "192.0.2.7"});
}

TEST_CASE("a request whose client has disconnected before its turn is not given to a thread") {
  TestAcceptor server({200, 1h});
  os::Fd left = server.connect_and_send(request_of("192.0.2.7"));
  const os::Fd stays = server.connect_and_send(request_of("192.0.2.8"));
  left.reset();
  server.acceptor.close();
  const auto exchange = http::Exchange::read(server.acceptor.next());
  REQUIRE(exchange);
  CHECK(exchange->request().client == "192.0.2.8");
  CHECK_FALSE(server.acceptor.next());
}

TEST_CASE("with too many incomplete requests, one of the address with the most is closed") {
  http::Listener listener = http::find_listener("127.0.0.1:0");
  const sockaddr_in name = address_of(listener);
  // They are queued in the kernel until the acceptor starts, so they are accepted in this order.
  std::vector<os::Fd> many;
  for (int i = 0; i < 3; ++i) many.push_back(connect_tcp(name, "127.0.0.1"));
  const os::Fd first = connect_tcp(name, "127.0.0.2"), second = connect_tcp(name, "127.0.0.2");
  const http::Acceptor acceptor(std::move(listener), {3, 1h});
  CHECK(is_closed(many[0]));  // for the first
  CHECK(is_closed(first));    // for the second, because no address has more than its share by then
  const auto is_open = [](const os::Fd& fd) {
    pollfd state{fd.get(), POLLIN | POLLRDHUP, 0};
    return poll(&state, 1, 0) == 0;
  };
  CHECK(is_open(many[1]));
  CHECK(is_open(many[2]));
  CHECK(is_open(second));
}

TEST_CASE("incomplete and empty connections do not delay complete requests") {
  TestAcceptor server({200, 1h});
  std::vector<os::Fd> idle;
  for (int i = 0; i < 20; ++i) idle.push_back(server.connect_and_send(i % 2 ? "" : whole.substr(0, 1)));
  const os::Fd complete = server.connect_and_send(whole);
  const os::Fd slow = server.connect_and_send(begin);
  const os::Fd asking = server.acceptor.next();
  TestAcceptor::send(slow, whole.substr(begin.size()));
  const auto exchange = http::Exchange::read(server.acceptor.next());
  REQUIRE(exchange);
  CHECK(exchange->request().path == "/");
}

TEST_CASE("incomplete and empty connections are closed after the header timeout") {
  const test::TemporaryDirectory dir;
  const std::string path = (dir.path() / "s").string();
  http::Listener listener = http::find_listener("unix:" + path);
  // They connect before the acceptor starts: otherwise one could be closed before it has sent its bytes.
  std::vector<os::Fd> idle;
  for (int i = 0; i < 20; ++i) idle.push_back(TestAcceptor::connect_and_send(path, i % 2 ? "" : whole.substr(0, 1)));
  const os::Fd complete = TestAcceptor::connect_and_send(path, whole);
  http::Acceptor acceptor(std::move(listener), {200, 100ms});
  for (const os::Fd& client : idle) CHECK(is_closed(client));
  CHECK(acceptor.next());
}

TEST_CASE("with too many connections the oldest incomplete one is closed; a malformed one is closed at once") {
  TestAcceptor server({2, 1h});
  CHECK(is_closed(
      server.connect_and_send("GET / HTTP/1.1\r\n\r\n")));  // below the limit, so that no other is closed for it
  const os::Fd first = server.connect_and_send("\1"), second = server.connect_and_send("\1"),
               third = server.connect_and_send("\1");
  CHECK(is_closed(first));
  TestAcceptor::send(second, whole.substr(1));
  CHECK(server.acceptor.next());
}

TEST_CASE("a connection to be closed that has completed its request meanwhile is accepted") {
  const test::TemporaryDirectory dir;
  const std::string path = (dir.path() / "s").string();
  http::Listener listener = http::find_listener("unix:" + path);
  const os::Fd slow = TestAcceptor::connect_and_send(path, begin);
  std::vector<os::Fd> requests;  // more than are accepted ahead
  for (int i = 0; i < 20; ++i) requests.push_back(TestAcceptor::connect_and_send(path, whole));
  os::Fd later = TestAcceptor::connect_and_send(path, begin);
  http::Acceptor acceptor(std::move(listener), {1, 1h, 16});

  CHECK(acceptor.next());  // by now `slow` is accepted, and `later` is not
  TestAcceptor::send(slow, whole.substr(begin.size()));
  for (std::size_t i = 1; i < requests.size(); ++i) CHECK(acceptor.next());
  later.reset();
  acceptor.close();
  CHECK(acceptor.next());  // `slow`
  CHECK_FALSE(acceptor.next());
}

TEST_CASE("a malformed request is not accepted") {
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  const os::Fd ours(pair[0]);
  TestAcceptor::send(ours, begin + record(4, "\x0b") + record(4, ""));  // a missing name
  CHECK_FALSE(http::Exchange::read(os::Fd(pair[1])));
}

TEST_CASE("over TCP, connections are accepted only from the listed web servers") {
  for (const auto& [named, taken] : {std::pair{"127.0.0.2,127.0.0.3", false}, {"127.0.0.2, ::ffff:127.0.0.1", true}}) {
    setenv("FCGI_WEB_SERVER_ADDRS", named, 1);
    http::Listener listener = http::find_listener("127.0.0.1:0");
    const sockaddr_in name = address_of(listener);
    http::Acceptor acceptor(std::move(listener));
    unsetenv("FCGI_WEB_SERVER_ADDRS");
    const os::Fd client = connect_tcp(name, "127.0.0.1");
    if (taken) {
      TestAcceptor::send(client, whole);
      CHECK(acceptor.next());
    } else {
      CHECK(is_closed(client));
    }
  }
}

TEST_CASE("a closed acceptor removes its socket and still returns the requests that had arrived") {
  TestAcceptor server({200, 1h});
  const os::Fd before = server.connect_and_send(whole), partly = server.connect_and_send(begin);
  server.acceptor.close();
  CHECK_FALSE(server.connect_and_send(whole));
  CHECK_FALSE(std::filesystem::exists(server.path));
  CHECK(server.acceptor.next());
  CHECK_FALSE(server.acceptor.next());
  CHECK(is_closed(partly));
}
