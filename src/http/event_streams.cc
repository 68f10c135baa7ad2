#include "http/event_streams.h"

#include <iterator>
#include <utility>

#include "http/answers.h"
#include "jobs/fair_queue.h"
#include "log.h"

namespace nixery::http {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds tick{250};
constexpr std::chrono::seconds silence{15};        // after which a comment is sent to keep the connection alive
constexpr std::string_view nothing_new = ":\n\n";  // a comment
constexpr std::string_view come_back = "retry: 1000\n\n";

}  // namespace

EventStreams::EventStreams(StreamLimits limits, metrics::Gauge& open)
    : limits_(limits), open_(open), thread_([this] { run(); }) {}

EventStreams::~EventStreams() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
  for (Stream& stream : new_streams_)
    if (!stream.exchange.begin(stream.streaming.head))
      stream.exchange.hang_up();  // an empty stream: the browser reconnects
}

// Takes a slot for `client`; false if there is none. The caller holds the mutex.
bool EventStreams::admit(const std::string& client) {
  if (shares_.of(client) >= limits_.per_client) return false;
  if (shares_.total() >= limits_.streams) {
    const auto candidates = shares_.above_share_of(client);
    if (candidates.empty()) return false;
    ++evicted_[candidates.front()];
    shares_.remove(candidates.front());
  }
  shares_.add(client);
  open_.set(shares_.total());
  return true;
}

void EventStreams::add(Exchange exchange, Streaming streaming) {
  if (exchange.request().method == "HEAD") {
    exchange.answer(streaming.head);
    return;
  }
  const std::string client = jobs::client_of_address(exchange.request().client);
  {
    const std::lock_guard lock(mutex_);
    if (!closing_ && admit(client)) {
      const auto now = Clock::now();
      new_streams_.push_back({std::move(exchange), std::move(streaming), client, now + limits_.max_duration, now, {}});
    }
  }
  if (exchange.pending())
    exchange.answer(answer_error(Error(Failure::too_busy, "too many follow builds: try again in a while")));
  else
    changed_.notify_all();
}

// Sends new events. False at the end of the stream, which the caller must then send.
bool EventStreams::send_next(Stream& stream) const {
  const auto now = Clock::now();
  const auto readiness = stream.exchange.readiness();
  if (readiness == Exchange::Readiness::busy && now - stream.last_sent < limits_.write_timeout) return true;
  if (readiness != Exchange::Readiness::ready) {
    stream.exchange.hang_up();
    return false;
  }
  if (stream.unsent.empty()) {
    if (now >= stream.end) {
      if (!stream.exchange.send(come_back)) stream.exchange.hang_up();
      return false;
    }
    auto text = stream.streaming.next();
    if (!text) return false;
    stream.unsent = *std::move(text);
    if (stream.unsent.empty() && now - stream.last_sent >= silence) stream.unsent = nothing_new;
  }
  if (stream.unsent.empty()) return true;
  stream.last_sent = now;
  const std::string piece = stream.unsent.substr(0, piece_size);
  stream.unsent.erase(0, piece.size());
  if (stream.exchange.send(piece)) return true;
  stream.exchange.hang_up();
  return false;
}

// The same, and catches all exceptions of the feed.
bool EventStreams::advance(Stream& stream) const {
  const CauseScope scope(stream.exchange.request().cause);
  try {
    return send_next(stream);
  } catch (const std::exception& error) {
    log::warning("a stream broke off", {{"error", error.what()}});
    return false;
  }
}

// Ends the newest streams of the clients that lost slots, and counts those that end. The caller holds the mutex.
void EventStreams::end_evicted(std::list<Stream>& streams, std::list<Stream>& leaving) {
  for (const Stream& stream : leaving) {
    const auto evicted = evicted_.find(stream.client);
    if (evicted == evicted_.end()) {
      shares_.remove(stream.client);
    } else if (--evicted->second == 0) {
      evicted_.erase(evicted);
    }
  }
  for (auto stream = streams.end(); !evicted_.empty() && stream != streams.begin();) {
    const auto evicted = evicted_.find((--stream)->client);
    if (evicted == evicted_.end()) continue;
    if (--evicted->second == 0) evicted_.erase(evicted);
    if (stream->exchange.readiness() != Exchange::Readiness::ready) stream->exchange.hang_up();
    leaving.splice(leaving.end(), streams, stream++);
  }
}

void EventStreams::run() {
  std::list<Stream> streams;
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto awake = [this] { return closing_ || !new_streams_.empty(); };
    if (streams.empty()) {
      changed_.wait(lock, awake);
    } else {
      changed_.wait_for(lock, tick, awake);
    }
    if (closing_) break;
    auto arrived = std::exchange(new_streams_, {});
    lock.unlock();
    std::list<Stream> leaving;
    for (auto stream = arrived.begin(); stream != arrived.end();) {
      const auto next = std::next(stream);
      if (stream->exchange.begin(stream->streaming.head)) {
        streams.splice(streams.end(), arrived, stream);
      } else {
        stream->exchange.hang_up();
        leaving.splice(leaving.end(), arrived, stream);
      }
      stream = next;
    }
    for (auto stream = streams.begin(); stream != streams.end();) {
      const auto next = std::next(stream);
      if (!advance(*stream)) leaving.splice(leaving.end(), streams, stream);
      stream = next;
    }
    lock.lock();
    end_evicted(streams, leaving);
    open_.set(shares_.total());
    lock.unlock();
    leaving.clear();  // ends them
    lock.lock();
  }
  lock.unlock();
  for (Stream& stream : streams)
    if (stream.exchange.readiness() != Exchange::Readiness::ready) stream.exchange.hang_up();
}

}  // namespace nixery::http
