#include "http/server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "error.h"
#include "http/waiting_room.h"
#include "log.h"
#include "os/file.h"

namespace nixery::http {

namespace {

// Accepting fails at once when descriptors run out; the requests in the air free some soon.
constexpr std::chrono::milliseconds breath{50};

// Whatever goes wrong with one request ends that one: it is closed unanswered, and the web server says so.
void handle(Exchange exchange, const Registry& registry, WaitingRoom& room, StreamRoom& streams) {
  const CauseScope scope(exchange.request().cause);
  try {
    auto answer = registry.answer(exchange.request());
    if (auto* response = std::get_if<Response>(&answer)) {
      exchange.answer(*response);
    } else if (auto* streaming = std::get_if<Streaming>(&answer)) {
      streams.enter(std::move(exchange), std::move(*streaming));
    } else {
      room.enter(std::move(exchange), std::get<Waiting>(std::move(answer)));
    }
  } catch (const std::exception& error) {
    log::error("an answer broke off", {{"error", error.what()}});
  }
}

void accept_until(int stop, const Registry& registry, const Listener& listener, const Journal& journal,
                  WaitingRoom& room, StreamRoom& streams) {
  for (;;) {
    pollfd polls[2] = {{listener.fd.get(), POLLIN, 0}, {stop, POLLIN, 0}};
    if (poll(polls, 2, -1) < 0) continue;
    if (polls[1].revents) return;
    auto exchange = Exchange::accept(listener.fd.get(), &journal);
    if (!exchange) {
      if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(breath);
      continue;
    }
    handle(*std::move(exchange), registry, room, streams);
  }
}

}  // namespace

void serve(const Registry& registry, Status& status, metrics::Metrics& metrics, const Listener& listener,
           const ServerSettings& settings) {
  // Several threads (and processes) wake for one connection; those that come too late must not stay in accept().
  fcntl(listener.fd.get(), F_SETFL, fcntl(listener.fd.get(), F_GETFL) | O_NONBLOCK);
  const os::Fd stop(eventfd(0, EFD_CLOEXEC));
  {
    const Journal journal(metrics);
    WaitingRoom room(registry, settings.max_waiting, metrics.waiting);
    StreamRoom streams(settings.streams, metrics.streams);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < settings.threads; ++i)
      threads.emplace_back([&] { accept_until(stop.get(), registry, listener, journal, room, streams); });
    log::info("serving", {{"listener", listener.origin}});

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    int signal = 0;
    sigwait(&signals, &signal);
    log::info("draining", {{"signal", strsignal(signal)}});
    status.drain();
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(stop.get(), &one, sizeof one);
    for (std::thread& thread : threads) thread.join();
  }
}

void serve_cgi(const Registry& registry) {
  const Request request = read_request([](const char* name) { return std::getenv(name); });
  const CauseScope scope(request.cause);
  auto answer = registry.answer(request);
  Response response;
  if (auto* waiting = std::get_if<Waiting>(&answer)) {
    waiting->flight->wait_until(waiting->deadline);
    response = registry.resume(*waiting);
  } else if (auto* streaming = std::get_if<Streaming>(&answer)) {
    // One look: whoever follows comes back for the next.
    response = std::move(streaming->head);
    response.streamed = false;
    response.body = streaming->next().value_or("");
  } else {
    response = std::get<Response>(std::move(answer));
  }
  os::write_all(STDOUT_FILENO, head_of(response, request.cause.request), "standard output");
  if (request.method != "HEAD") {
    os::write_all(STDOUT_FILENO, response.body, "standard output");
    if (response.file)
      response.file->read([](std::string_view bytes) {
        os::write_all(STDOUT_FILENO, bytes, "standard output");
        return true;
      });
  }
  // The web server waits for the end of our output, not of us.
  const os::Fd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(nothing.get(), fd);
}

}  // namespace nixery::http
