#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "http/event_streams.h"
#include "http/listener.h"
#include "temporary_directory.h"

using namespace nixery;
using namespace std::chrono_literals;

namespace {

// The web server's end of FastCGI: connects, sends a request, and optionally reads.
class Asker {
 public:
  Asker(const std::string& path, std::string_view address) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
    REQUIRE(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
    std::string parameters;
    for (const auto& [key, value] : {std::pair<std::string_view, std::string_view>{"REQUEST_METHOD", "GET"},
                                     {"REQUEST_URI", "/"},
                                     {"REMOTE_ADDR", address}}) {
      parameters += static_cast<char>(key.size());
      parameters += static_cast<char>(value.size());
      parameters.append(key).append(value);
    }
    record(1, std::string("\0\1\0\0\0\0\0\0", 8));
    record(4, parameters);
    record(4, "");
    record(5, "");
  }

  // Reads until there are `enough` bytes or nothing more arrives.
  std::string read_until(std::size_t enough) {
    std::string got;
    char buffer[65536];
    while (got.size() < enough) {
      pollfd readable{fd_.get(), POLLIN, 0};
      REQUIRE(poll(&readable, 1, 60'000) == 1);
      const ssize_t n = read(fd_.get(), buffer, sizeof buffer);
      if (n <= 0) break;
      got.append(buffer, static_cast<std::size_t>(n));
    }
    return got;
  }
  std::string read_all() { return read_until(std::string::npos); }
  void leave() { fd_ = os::Fd(); }

 private:
  void record(char type, const std::string& content) {
    const std::string head{'\1', type, '\0', '\1', '\0', static_cast<char>(content.size()), '\0', '\0'};
    REQUIRE(write(fd_.get(), (head + content).data(), head.size() + content.size()) > 0);
  }
  os::Fd fd_;
};

struct Room {
  const test::TemporaryDirectory dir;
  const std::string path = (dir.path() / "s").string();
  http::Listener listener = http::find_listener("unix:" + path);
  metrics::Gauge open;
  http::EventStreams streams;

  explicit Room(http::StreamLimits limits) : streams(limits, open) {}
  // A client at `address` that follows `next`.
  std::unique_ptr<Asker> follow(std::function<std::optional<std::string>()> next,
                                std::string_view address = "1.2.3.4") {
    auto asker = std::make_unique<Asker>(path, address);
    auto exchange = http::Exchange::read(os::Fd(accept(listener.fd.get(), nullptr, nullptr)));
    REQUIRE(exchange);
    http::Response head;
    head.streamed = true;
    streams.add(*std::move(exchange), {std::move(head), std::move(next)});
    return asker;
  }
};

std::optional<std::string> silence() {
  return "";
}

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

}  // namespace

TEST_CASE("a stream has headers, the feed's events, and an end") {
  Room streams({});
  int said = 0;
  const auto text = streams
                        .follow([&]() -> std::optional<std::string> {
                          return ++said > 2 ? std::nullopt : std::optional("piece " + std::to_string(said) + "\n");
                        })
                        ->read_all();
  CHECK(holds(text, "Status: 200 OK"));
  CHECK_FALSE(holds(text, "Content-Length"));
  CHECK(holds(text, "piece 1\n"));
  CHECK(holds(text, "piece 2\n"));
}

TEST_CASE("a stream that lasts too long ends and asks to reconnect; one that throws ends") {
  Room streams({64, 8, 100ms});
  CHECK(holds(streams.follow(silence)->read_all(), "retry: "));
  Room patient({64, 8, 1h});
  CHECK_FALSE(holds(patient.follow([]() -> std::optional<std::string> { throw std::runtime_error("odd"); })->read_all(),
                    "retry: "));
}

TEST_CASE("the feed of a client that reads nothing is not polled, and other clients are not delayed") {
  Room streams({});
  std::atomic<int> unread = 0, read = 0;
  const auto feed = [](std::atomic<int>& count) {
    return [&count]() -> std::optional<std::string> {
      ++count;
      return std::string(http::piece_size * 3 / 2, 'x');
    };
  };
  const auto stuck = streams.follow(feed(unread));
  const auto reader = streams.follow(feed(read));
  CHECK(reader->read_until(10 * http::piece_size).size() >= 10 * http::piece_size);
  CHECK(read >= 6);
  CHECK(unread < read);
}

TEST_CASE("clients that read nothing for too long are dropped, and dropping many delays no other client") {
  Room streams({64, 64, 1h, 1s});
  std::atomic<int> asked = 0;
  const auto reader = streams.follow([&asked]() -> std::optional<std::string> {
    ++asked;
    return "";
  });
  std::vector<std::unique_ptr<Asker>> stuck;
  for (int i = 0; i < 48; ++i)
    stuck.push_back(streams.follow([] { return std::optional(std::string(http::piece_size * 3 / 2, 'x')); }));
  // The reader's feed is polled until all of them are dropped, and twice more, each time much faster than a second per
  // client.
  using Clock = std::chrono::steady_clock;
  const auto last = Clock::now() + 60s;
  for (int more = 2; more > 0;) {
    REQUIRE(Clock::now() < last);
    const int before = asked;
    const bool all_gone = streams.open.value() == 1;
    const auto end = Clock::now() + 20s;
    while (asked == before && Clock::now() < end) std::this_thread::sleep_for(10ms);
    REQUIRE(asked > before);
    if (all_gone) --more;
  }
}

TEST_CASE("streams are limited in all and for each client, and a client with fewer takes the place of one with more") {
  Room streams({3, 2, 1h});
  auto first = streams.follow(silence, "1.1.1.1"), second = streams.follow(silence, "1.1.1.1");
  CHECK(holds(streams.follow(silence, "1.1.1.1")->read_all(), "429"));
  const auto third = streams.follow(silence, "2.2.2.2");
  const auto fourth = streams.follow(silence, "3.3.3.3");
  CHECK(streams.open.value() == 3);
  CHECK(holds(second->read_all(), "200"));  // it ends: the newest of the client with the most
  CHECK(holds(streams.follow(silence, "4.4.4.4")->read_all(), "429"));  // each client has one
  first->leave();
  // It is noticed at the next poll of all streams.
  bool entered = false;
  for (int tries = 0; tries < 100 && !entered; ++tries) {
    entered = holds(streams.follow([]() -> std::optional<std::string> { return std::nullopt; }, "1.1.1.1")->read_all(),
                    "200");
    if (!entered) std::this_thread::sleep_for(100ms);
  }
  CHECK(entered);
}

TEST_CASE("destroying EventStreams ends all streams") {
  std::unique_ptr<Asker> asker;
  {
    Room streams({});
    asker = streams.follow(silence);
  }
  CHECK(holds(asker->read_all(), "200"));
}
