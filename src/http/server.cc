#include "http/server.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>
#include <vector>

#include "http/acceptor.h"
#include "http/pending_requests.h"
#include "log.h"
#include "os/file.h"
#include "os/signals.h"

namespace nixery::http {

namespace {

// An exception ends only its own request: the connection is closed without a response, which the web server reports.
void handle(Exchange exchange, const Handler& handler, PendingRequests& pending, EventStreams& streams) {
  const CauseScope scope(exchange.request().cause);
  try {
    auto answer = handler.answer(exchange.request());
    if (auto* response = std::get_if<Response>(&answer)) {
      exchange.answer(*response);
    } else if (auto* streaming = std::get_if<Streaming>(&answer)) {
      streams.add(std::move(exchange), std::move(*streaming));
    } else {
      pending.add(std::move(exchange), std::get<Waiting>(std::move(answer)));
    }
  } catch (const std::exception& error) {
    log::error("an answer broke off", {{"error", error.what()}});
  }
}

void answer_all(Acceptor& acceptor, const Handler& handler, const AccessLog& access_log, PendingRequests& pending,
                EventStreams& streams) {
  while (os::Fd connection = acceptor.next())
    if (auto exchange = Exchange::read(std::move(connection), &access_log))
      handle(*std::move(exchange), handler, pending, streams);
}

}  // namespace

void serve(const Handler& handler, metrics::Metrics& metrics, Listener listener, const ServerSettings& settings,
           const std::function<void()>& draining) {
  const AccessLog access_log(handler, metrics);
  PendingRequests pending(settings.max_waiting, metrics.waiting);
  EventStreams streams(settings.streams, metrics.streams);
  const std::string origin = listener.origin;
  Acceptor acceptor(std::move(listener));
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < settings.threads; ++i)
    threads.emplace_back([&] { answer_all(acceptor, handler, access_log, pending, streams); });
  log::info("serving", {{"listener", origin}});

  const int signal = os::wait_for_termination([] {
    log::info("nothing to reload",
              {{"signal", "SIGHUP"}, {"why", "declared images are followed by themselves, settings need a restart"}});
  });
  log::info("draining", {{"signal", strsignal(signal)}});
  draining();
  // Before requests are redirected: a client that returns at once must not reach this worker.
  acceptor.close();
  for (std::thread& thread : threads) thread.join();
}

void serve_cgi(const Handler& handler) {
  const Request request = read_request([](const char* name) { return std::getenv(name); });
  const CauseScope scope(request.cause);
  auto answer = handler.answer(request);
  Response response;
  if (auto* waiting = std::get_if<Waiting>(&answer)) {
    waiting->job->wait_until(waiting->deadline);
    response = resume(*waiting);
  } else if (auto* streaming = std::get_if<Streaming>(&answer)) {
    // One poll only: clients reconnect for the next.
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
  // The web server waits for the end of the output, not of the process.
  const os::Fd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(nothing.get(), fd);
}

}  // namespace nixery::http
