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

// A whole request that the web server has for a client.
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

struct House {
  const test::TemporaryDirectory dir;
  const std::string path = (dir.path() / "s").string();
  http::Acceptor acceptor;

  explicit House(http::AcceptorLimits limits) : acceptor(http::find_listener("unix:" + path), limits) {}
  // One that has sent so much; none where nobody listens. Between coming and sending it may stand there with nothing.
  os::Fd visit(std::string_view bytes) const { return visit(path, bytes); }
  static os::Fd visit(const std::string& path, std::string_view bytes) {
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

// Within a minute.
bool is_shown_out(const os::Fd& visitor) {
  char byte;
  pollfd readable{visitor.get(), POLLIN, 0};
  return poll(&readable, 1, 60'000) == 1 && read(visitor.get(), &byte, 1) <= 0;
}

}  // namespace

TEST_CASE("a request is there with its last parameter") {
  using http::RequestState;
  const auto request_state = [](std::string_view bytes) { return http::read_head(bytes).state; };
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK(request_state(whole.substr(0, size)) == RequestState::incomplete);
  }
  CHECK(request_state(whole) == RequestState::complete);
  CHECK(request_state(whole + record(5, "")) == RequestState::complete);
  CHECK(request_state(record(9, "", 0) + whole) == RequestState::complete);
  // What libfcgi would go on reading for.
  CHECK(request_state(record(4, "")) == RequestState::malformed);
  CHECK(request_state(begin + record(4, "", 2)) == RequestState::incomplete);
  CHECK(request_state("GET / HTTP/1.1\r\n\r\n") == RequestState::malformed);
}

TEST_CASE("a complete request says which client it is for, however its parameters are cut into records") {
  const auto client_of = [](const std::string& bytes) { return http::read_head(bytes).client; };
  CHECK(client_of(request_of("192.0.2.7")) == "192.0.2.7");
  CHECK(client_of(whole) == "");
  const std::string long_pair = std::string("\x80\0\0\x0b\x80\0\0\x09REMOTE_ADDR192.0.2.8", 28);
  CHECK(client_of(begin + record(4, long_pair) + record(4, "")) == "192.0.2.8");
  CHECK(client_of(begin + record(4, long_pair.substr(0, 2)) + record(4, long_pair.substr(2, 15)) +
                  record(4, long_pair.substr(17)) + record(4, "")) == "192.0.2.8");
  CHECK(client_of(begin + record(4, "\x01\x01xy" + long_pair) + record(4, "")) == "192.0.2.8");
  // Lengths that lie.
  CHECK(client_of(begin + record(4, std::string("\x80\0", 2)) + record(4, "")) == "");
  CHECK(client_of(begin + record(4, "\x0b\x7fREMOTE_ADDR192") + record(4, "")) == "");
  CHECK(client_of(begin +
                  record(4,
                         "\xff\xff\xff\xff\xff\xff\xff\xff"
                         "REMOTE_ADDR") +
                  record(4, "")) == "");
}

TEST_CASE("clients take turns: many requests of one do not delay the first of another") {
  House house({200, 1h});
  std::vector<os::Fd> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(house.visit(request_of("192.0.2.7")));
  clients.push_back(house.visit(request_of("192.0.2.8")));
  clients.push_back(house.visit(request_of("2001:db8::1")));
  house.acceptor.close();  // returns when all are ready
  std::vector<std::string> order;
  while (os::Fd connection = house.acceptor.next())
    order.push_back(http::Exchange::read(std::move(connection))->request().client);
  CHECK(order ==
        std::vector<std::string>{"192.0.2.7", "192.0.2.8", "2001:db8::1", "192.0.2.7", "192.0.2.7", "192.0.2.7"});
}

TEST_CASE("a request whose client has left before its turn takes no thread") {
  House house({200, 1h});
  os::Fd left = house.visit(request_of("192.0.2.7"));
  const os::Fd stays = house.visit(request_of("192.0.2.8"));
  left.reset();
  house.acceptor.close();
  const auto exchange = http::Exchange::read(house.acceptor.next());
  REQUIRE(exchange);
  CHECK(exchange->request().client == "192.0.2.8");
  CHECK_FALSE(house.acceptor.next());
}

TEST_CASE("of too many incomplete requests, one goes of the address that has most") {
  http::Listener listener = http::find_listener("127.0.0.1:0");
  const sockaddr_in name = address_of(listener);
  // They wait with the kernel until there is somebody to accept them, so they come in this order.
  std::vector<os::Fd> many;
  for (int i = 0; i < 3; ++i) many.push_back(connect_tcp(name, "127.0.0.1"));
  const os::Fd first = connect_tcp(name, "127.0.0.2"), second = connect_tcp(name, "127.0.0.2");
  const http::Acceptor acceptor(std::move(listener), {3, 1h});
  CHECK(is_shown_out(many[0]));  // for the first
  CHECK(is_shown_out(first));    // for the second, as nobody has more than a share by then
  const auto is_open = [](const os::Fd& fd) {
    pollfd state{fd.get(), POLLIN | POLLRDHUP, 0};
    return poll(&state, 1, 0) == 0;
  };
  CHECK(is_open(many[1]));
  CHECK(is_open(many[2]));
  CHECK(is_open(second));
}

TEST_CASE("who sends a part of a request, or nothing, is passed by those who send one") {
  House house({200, 1h});
  std::vector<os::Fd> idle;
  for (int i = 0; i < 20; ++i) idle.push_back(house.visit(i % 2 ? "" : whole.substr(0, 1)));
  const os::Fd asker = house.visit(whole);
  const os::Fd slow = house.visit(begin);
  const os::Fd asking = house.acceptor.next();
  House::send(slow, whole.substr(begin.size()));
  const auto exchange = http::Exchange::read(house.acceptor.next());
  REQUIRE(exchange);
  CHECK(exchange->request().path == "/");
}

TEST_CASE("who sends a part of a request, or nothing, is shown out in time") {
  const test::TemporaryDirectory dir;
  const std::string path = (dir.path() / "s").string();
  http::Listener listener = http::find_listener("unix:" + path);
  // They come before the door opens: else one could be shown out before it has sent its part.
  std::vector<os::Fd> idle;
  for (int i = 0; i < 20; ++i) idle.push_back(House::visit(path, i % 2 ? "" : whole.substr(0, 1)));
  const os::Fd asker = House::visit(path, whole);
  http::Acceptor acceptor(std::move(listener), {200, 100ms});
  for (const os::Fd& visitor : idle) CHECK(is_shown_out(visitor));
  CHECK(acceptor.next());
}

TEST_CASE("of too many, the one that has stood there for longest goes; nonsense goes at once") {
  House house({2, 1h});
  CHECK(is_shown_out(house.visit("GET / HTTP/1.1\r\n\r\n")));  // while there is room, as nobody may have to go for it
  const os::Fd first = house.visit("\1"), second = house.visit("\1"), third = house.visit("\1");
  CHECK(is_shown_out(first));
  House::send(second, whole.substr(1));
  CHECK(house.acceptor.next());
}

TEST_CASE("who has to go, but has sent all of a request meanwhile, is let in") {
  const test::TemporaryDirectory dir;
  const std::string path = (dir.path() / "s").string();
  http::Listener listener = http::find_listener("unix:" + path);
  const os::Fd guest = House::visit(path, begin);
  std::vector<os::Fd> askers;  // more than are let in ahead
  for (int i = 0; i < 20; ++i) askers.push_back(House::visit(path, whole));
  os::Fd newcomer = House::visit(path, begin);
  http::Acceptor acceptor(std::move(listener), {1, 1h, 16});

  CHECK(acceptor.next());  // by now the guest is in, and the newcomer is not
  House::send(guest, whole.substr(begin.size()));
  for (std::size_t i = 1; i < askers.size(); ++i) CHECK(acceptor.next());
  newcomer.reset();
  acceptor.close();
  CHECK(acceptor.next());  // the guest's
  CHECK_FALSE(acceptor.next());
}

TEST_CASE("what only looks like a request is read as none") {
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  const os::Fd ours(pair[0]);
  House::send(ours, begin + record(4, "\x0b") + record(4, ""));  // a name that is not there
  CHECK_FALSE(http::Exchange::read(os::Fd(pair[1])));
}

TEST_CASE("over TCP, where the web servers are named, nobody else is taken in") {
  for (const auto& [named, taken] : {std::pair{"127.0.0.2,127.0.0.3", false}, {"127.0.0.2, ::ffff:127.0.0.1", true}}) {
    setenv("FCGI_WEB_SERVER_ADDRS", named, 1);
    http::Listener listener = http::find_listener("127.0.0.1:0");
    const sockaddr_in name = address_of(listener);
    http::Acceptor acceptor(std::move(listener));
    unsetenv("FCGI_WEB_SERVER_ADDRS");
    const os::Fd visitor = connect_tcp(name, "127.0.0.1");
    if (taken) {
      House::send(visitor, whole);
      CHECK(acceptor.next());
    } else {
      CHECK(is_shown_out(visitor));
    }
  }
}

TEST_CASE("a closed acceptor has nobody listening, and its socket is gone; who was there is handed out") {
  House house({200, 1h});
  const os::Fd before = house.visit(whole), partly = house.visit(begin);
  house.acceptor.close();
  CHECK_FALSE(house.visit(whole));
  CHECK_FALSE(std::filesystem::exists(house.path));
  CHECK(house.acceptor.next());
  CHECK_FALSE(house.acceptor.next());
  CHECK(is_shown_out(partly));
}
