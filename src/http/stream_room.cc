#include "http/stream_room.h"

#include <iterator>
#include <utility>

#include "build/fair_queue.h"
#include "http/answers.h"
#include "log.h"

namespace nixery::http {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds tick{250};
constexpr std::chrono::seconds silence{15};        // after which something is sent, so that nobody thinks we are gone
constexpr std::string_view nothing_new = ":\n\n";  // a comment
constexpr std::string_view come_back = "retry: 1000\n\n";

}  // namespace

StreamRoom::StreamRoom(StreamLimits limits, metrics::Gauge& open)
    : limits_(limits), open_(open), attendant_([this] { attend(); }) {}

StreamRoom::~StreamRoom() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  attendant_.join();
  for (Guest& guest : arrivals_)
    if (!guest.exchange.begin(guest.streaming.head)) guest.exchange.hang_up();  // an empty stream: they come back
}

void StreamRoom::enter(Exchange exchange, Streaming streaming) {
  if (exchange.request().method == "HEAD") {
    exchange.answer(streaming.head);
    return;
  }
  const std::string client = build::client_of_address(exchange.request().client);
  {
    const std::lock_guard lock(mutex_);
    std::size_t& of_client = clients_[client];
    if (size_ < limits_.streams && of_client < limits_.of_a_client && !closing_) {
      ++of_client;
      open_.set(++size_);
      const auto now = Clock::now();
      arrivals_.push_back({std::move(exchange), std::move(streaming), client, now + limits_.length, now, {}});
    } else if (of_client == 0) {
      clients_.erase(client);
    }
  }
  if (exchange.pending())
    exchange.answer(answer_error(Error(Failure::too_busy, "too many follow builds: try again in a while")));
  else
    changed_.notify_all();
}

// Sends what is new. False at the end, which then has to be told; nobody is told who would not hear it.
bool StreamRoom::goes_on(Guest& guest) const {
  const auto now = Clock::now();
  const auto readiness = guest.exchange.readiness();
  if (readiness == Exchange::Readiness::busy && now - guest.last_sent < limits_.patience) return true;
  if (readiness != Exchange::Readiness::ready) {
    guest.exchange.hang_up();
    return false;
  }
  if (guest.unsent.empty()) {
    if (now >= guest.end) {
      if (!guest.exchange.send(come_back)) guest.exchange.hang_up();
      return false;
    }
    auto text = guest.streaming.next();
    if (!text) return false;
    guest.unsent = *std::move(text);
    if (guest.unsent.empty() && now - guest.last_sent >= silence) guest.unsent = nothing_new;
  }
  if (guest.unsent.empty()) return true;
  guest.last_sent = now;
  const std::string piece = guest.unsent.substr(0, piece_size);
  guest.unsent.erase(0, piece.size());
  if (guest.exchange.send(piece)) return true;
  guest.exchange.hang_up();
  return false;
}

// Likewise, whatever its feed throws.
bool StreamRoom::look_at(Guest& guest) const {
  const CauseScope scope(guest.exchange.request().cause);
  try {
    return goes_on(guest);
  } catch (const std::exception& error) {
    log::warning("a stream broke off", {{"error", error.what()}});
    return false;
  }
}

void StreamRoom::attend() {
  std::list<Guest> guests;
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto awake = [this] { return closing_ || !arrivals_.empty(); };
    if (guests.empty()) {
      changed_.wait(lock, awake);
    } else {
      changed_.wait_for(lock, tick, awake);
    }
    if (closing_) break;
    auto arrived = std::exchange(arrivals_, {});
    lock.unlock();
    std::list<Guest> leaving;
    for (auto guest = arrived.begin(); guest != arrived.end();) {
      const auto next = std::next(guest);
      if (guest->exchange.begin(guest->streaming.head)) {
        guests.splice(guests.end(), arrived, guest);
      } else {
        guest->exchange.hang_up();
        leaving.splice(leaving.end(), arrived, guest);
      }
      guest = next;
    }
    for (auto guest = guests.begin(); guest != guests.end();) {
      const auto next = std::next(guest);
      if (!look_at(*guest)) leaving.splice(leaving.end(), guests, guest);
      guest = next;
    }
    lock.lock();
    for (const Guest& guest : leaving) {
      open_.set(--size_);
      if (--clients_[guest.client] == 0) clients_.erase(guest.client);
    }
    lock.unlock();
    leaving.clear();  // ends them
    lock.lock();
  }
  lock.unlock();
  for (Guest& guest : guests)
    if (guest.exchange.readiness() != Exchange::Readiness::ready) guest.exchange.hang_up();
}

}  // namespace nixery::http
