#include "http_client/http_client.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "cause.h"
#include "os/fd.h"

using namespace nixery;
using namespace std::chrono_literals;

namespace {

// Serves one connection after another; each request's head and body are handed to `answer`, which returns all bytes of
// the response, or nothing to leave it without one.
class Server {
 public:
  explicit Server(std::function<std::string(const std::string& request)> answer)
      : answer_(std::move(answer)), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof name;
    REQUIRE(bind(listener_.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
    REQUIRE(listen(listener_.get(), 8) == 0);
    REQUIRE(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
    port_ = ntohs(name.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    shutdown(listener_.get(), SHUT_RDWR);
    {
      const std::lock_guard lock(mutex_);
      for (const os::Fd& client : clients_) shutdown(client.get(), SHUT_RDWR);
    }
    thread_.join();
    for (std::thread& thread : threads_) thread.join();
  }

  std::string url(std::string_view path = "/") const { return fmt::format("http://127.0.0.1:{}{}", port_, path); }
  std::string address() const { return fmt::format("127.0.0.1:{}", port_); }
  std::size_t connections() const { return connections_; }

 private:
  void serve() {
    while (true) {
      os::Fd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (client.get() < 0) return;
      ++connections_;
      const std::lock_guard lock(mutex_);
      const int fd = client.get();
      clients_.push_back(std::move(client));
      threads_.emplace_back([this, fd] { talk(fd); });
    }
  }

  void talk(int fd) {
    std::string request;
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) {
      request.append(buffer, static_cast<std::size_t>(n));
      const auto head = request.find("\r\n\r\n");
      if (head == request.npos) continue;
      std::size_t body = 0;
      if (const auto at = request.find("Content-Length: "); at < head) body = std::stoul(request.substr(at + 16));
      if (request.size() < head + 4 + body) continue;
      const std::string response = answer_(request);
      if (send(fd, response.data(), response.size(), MSG_NOSIGNAL) < 0) return;
      request.clear();
    }
  }

  const std::function<std::string(const std::string&)> answer_;
  os::Fd listener_;
  int port_ = 0;
  std::atomic<std::size_t> connections_{0};
  std::mutex mutex_;
  std::vector<os::Fd> clients_;
  std::vector<std::thread> threads_;
  std::thread thread_;
};

std::string response(std::string_view status, std::string_view body, std::string_view headers = "") {
  return fmt::format("HTTP/1.1 {}\r\n{}Content-Length: {}\r\n\r\n{}", status, headers, body.size(), body);
}

http_client::Request to(const Server& server, std::string_view path = "/") {
  http_client::Request request{.url = server.url(path)};
  request.uses_proxy = false;
  request.limit = 60s;
  return request;
}

std::string message_of(const http_client::Request& request, const std::stop_token& stop = {}) {
  try {
    http_client::send(request, stop);
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::unavailable);
    return error.what();
  }
  return "";
}

// A server that sends each request back.
std::string echo(const std::string& request) {
  return response("200 OK", request);
}

}  // namespace

TEST_CASE("http client: a response of any status has its headers and body") {
  const Server server([](const std::string&) {
    return response("429 Too Many Requests", "later", "Retry-After: 7\r\nX-Name:  a b \r\n");
  });
  const auto got = http_client::send(to(server));
  CHECK(got.status == 429);
  CHECK_FALSE(got.ok());
  CHECK(got.body == "later");
  CHECK(got.header("x-name") == "a b");
  CHECK(got.header("X-Other").empty());
  CHECK(got.retry_after() == 7s);
}

TEST_CASE("http client: Retry-After is at most an hour, and seconds only") {
  const auto waits = [](std::string_view value) {
    return http_client::Response{503, "", {{"retry-after", std::string(value)}}}.retry_after();
  };
  CHECK(waits("0") == 0s);
  CHECK(waits("100000") == 3600s);
  CHECK(waits("18446744073709551615") == 3600s);
  CHECK_FALSE(waits("Fri, 31 Dec 1999 23:59:59 GMT"));
  CHECK_FALSE(waits("-1"));
  CHECK_FALSE(http_client::Response{}.retry_after());
}

TEST_CASE("http client: sends method, headers, body and trace") {
  const Server server(echo);
  http_client::Request request = to(server, "/a?b");
  request.method = "PATCH";
  request.headers = {"X-One: 1", "Content-Type: application/json"};
  request.body = "{\"x\":1}";
  const std::string trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
  const CauseScope scope({"", TraceParent::parse(trace)});
  const std::string sent = http_client::send(request).body;
  CHECK(sent.starts_with("PATCH /a?b HTTP/1.1\r\n"));
  for (const std::string& line : {std::string("X-One: 1"), std::string("Content-Type: application/json"),
                                  std::string("Content-Length: 7"), "traceparent: " + trace})
    CHECK_MESSAGE(sent.find("\r\n" + line + "\r\n") != sent.npos, line);
  CHECK(sent.find("Expect:") == sent.npos);
  CHECK(sent.ends_with("\r\n\r\n{\"x\":1}"));
}

TEST_CASE("http client: nothing of a request is left in the next one of its thread, but the connection") {
  const Server server(echo);
  http_client::Request first = to(server);
  first.method = "POST";
  first.headers = {"Authorization: Bearer secret"};
  first.body = "body";
  first.max_redirects = 3;
  http_client::send(first);
  const std::string second = http_client::send(to(server)).body;
  CHECK(second.starts_with("GET / HTTP/1.1\r\n"));
  CHECK(second.find("secret") == second.npos);
  CHECK(second.find("Content-") == second.npos);
  CHECK(server.connections() == 1);
  http_client::Request head = to(server);
  head.method = "HEAD";
  CHECK(http_client::send(head).header("Content-Length") != "");
}

TEST_CASE("http client: child processes do not inherit the connections that are kept") {
  const Server server(echo);
  http_client::send(to(server));
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0 || peer.sin_family != AF_INET) continue;
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  }
}

TEST_CASE("http client: redirects are followed if asked for, to http and https only") {
  const Server server([](const std::string& request) {
    if (request.starts_with("GET /file ")) return response("302 Found", "", "Location: file:///etc/passwd\r\n");
    if (request.starts_with("GET /loop ")) return response("302 Found", "", "Location: /loop\r\n");
    if (request.starts_with("GET /from ")) return response("302 Found", "moved", "Location: /to\r\nX-Of: from\r\n");
    return response("200 OK", "here");
  });
  http_client::Request request = to(server, "/from");
  const auto kept = http_client::send(request);
  CHECK(kept.status == 302);
  CHECK(kept.header("Location") == "/to");
  request.max_redirects = 3;
  const auto followed = http_client::send(request);
  CHECK(followed.status == 200);
  CHECK(followed.body == "here");
  CHECK(followed.header("X-Of").empty());
  request.url = server.url("/file");
  CHECK(message_of(request) != "");
  request.url = server.url("/loop");
  CHECK(message_of(request) != "");
  request.url = "file:///etc/passwd";
  CHECK(message_of(request) != "");
}

TEST_CASE("http client: a body has a largest size, with a sink and without") {
  std::string large(100'000, 'x');
  const Server server([&](const std::string&) { return response("200 OK", large); });
  http_client::Request request = to(server);
  request.largest_body = large.size();
  CHECK(http_client::send(request).body == large);
  request.largest_body = large.size() - 1;
  CHECK_THROWS_AS(http_client::send(request), http_client::TooLarge);
  request.sink = [](std::string_view) {};
  CHECK_THROWS_AS(http_client::send(request), http_client::TooLarge);
}

TEST_CASE("http client: a header has a largest size") {
  std::string headers;
  for (int i = 0; i < 10'000; ++i) headers += fmt::format("X-{}: {}\r\n", i, std::string(60, 'x'));
  const Server server([&](const std::string&) { return response("200 OK", "", headers); });
  CHECK(message_of(to(server)) != "");
}

TEST_CASE("http client: a sink takes the body of a success, and what it throws reaches the caller") {
  const Server server([](const std::string& request) {
    return request.starts_with("GET /good ") ? response("200 OK", "payload")
                                             : response("404 Not Found", std::string(2u << 20, 'x'));
  });
  std::string taken;
  http_client::Request request = to(server, "/good");
  request.sink = [&](std::string_view bytes) { taken += bytes; };
  CHECK(http_client::send(request).body.empty());
  CHECK(taken == "payload");
  request.url = server.url("/bad");
  const auto refused = http_client::send(request);
  CHECK(refused.status == 404);
  CHECK(refused.body == std::string(1u << 20, 'x'));
  CHECK(taken == "payload");

  struct Full {};
  request.url = server.url("/good");
  request.sink = [](std::string_view) { throw Full(); };
  CHECK_THROWS_AS(http_client::send(request), Full);
}

TEST_CASE("http client: a sink may send requests itself") {
  const Server server(echo);
  std::string inner;
  http_client::Request request = to(server, "/outer");
  request.sink = [&](std::string_view) { inner = http_client::send(to(server, "/inner")).body; };
  http_client::send(request);
  CHECK(inner.starts_with("GET /inner "));
}

TEST_CASE("http client: a stop and the limit of time end a request that has no response") {
  std::stop_source stop;
  std::atomic<bool> stops{true};
  const Server server([&](const std::string&) {
    if (stops) stop.request_stop();
    return "";
  });
  CHECK(message_of(to(server, "/x?secret"), stop.get_token()) ==
        fmt::format("cannot get {}: stopping", server.url("/x")));
  stops = false;
  http_client::Request request = to(server);
  request.limit = 1s;
  CHECK(message_of(request) != "");
}

TEST_CASE("http client: messages have neither credentials nor query") {
  const os::Fd unused(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  REQUIRE(bind(unused.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);  // and does not listen
  REQUIRE(getsockname(unused.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
  http_client::Request request{.url =
                                   fmt::format("http://user:secret@127.0.0.1:{}/a?token=secret", ntohs(name.sin_port))};
  request.uses_proxy = false;
  const std::string message = message_of(request);
  CHECK(message.starts_with(fmt::format("cannot get http://127.0.0.1:{}/a: ", ntohs(name.sin_port))));
  CHECK(message.find("secret") == message.npos);
}

TEST_CASE("http client: connects to another address than the URL's") {
  const Server server(echo);
  http_client::Request request = to(server);
  request.url = "http://registry.invalid:1234/v2/";
  request.connect_to = server.address();
  const std::string sent = http_client::send(request).body;
  CHECK(sent.find("\r\nHost: registry.invalid:1234\r\n") != sent.npos);
}
