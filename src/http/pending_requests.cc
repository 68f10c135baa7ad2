#include "http/pending_requests.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <iterator>
#include <vector>

#include "http/answers.h"
#include "log.h"

namespace nixery::http {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t wakeup_id = 0;

os::Fd opened(int fd) {
  if (fd < 0) throw Error(Failure::unavailable, "cannot watch pending requests: no descriptors are left");
  return os::Fd(fd);
}

void watch(int events, int fd, std::uint32_t what, std::uint64_t id) {
  epoll_event event{};
  event.events = what;
  event.data.u64 = id;
  epoll_ctl(events, EPOLL_CTL_ADD, fd, &event);
}

Response too_busy() {
  return answer_error(Error(Failure::too_busy, "too many requests wait for images to be built: try again in a while"));
}

}  // namespace

void PendingRequests::Wakeup::signal() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(event.get(), &one, sizeof one);
}

PendingRequests::PendingRequests(std::size_t capacity, metrics::Gauge& waiting)
    : capacity_(capacity),
      waiting_(waiting),
      wakeup_(std::make_shared<const Wakeup>(Wakeup{opened(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))})),
      events_(opened(epoll_create1(EPOLL_CLOEXEC))) {
  watch(events_.get(), wakeup_->event.get(), EPOLLIN, wakeup_id);
  thread_ = std::thread([this] { run(); });
}

PendingRequests::~PendingRequests() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wakeup_->signal();
  thread_.join();
  for (PendingRequest& request : requests_) answer(request);
}

void PendingRequests::answer(PendingRequest& request) const {
  const CauseScope scope(request.waiting.request.cause);
  try {
    request.exchange.answer(resume(request.waiting));
  } catch (const std::exception& error) {
    log::error("an answer broke off", {{"error", error.what()}});
  }
}

void PendingRequests::add(Exchange exchange, Waiting waiting) {
  const auto job = waiting.job;
  const std::string client = jobs::client_of_address(waiting.request.client);
  exchange.waits();
  Requests evicted;
  bool is_first_of_job = false;
  {
    const std::lock_guard lock(mutex_);
    if (!closing_ && (requests_.size() < capacity_ || make_room_for(client, evicted))) {
      requests_.push_back({next_id_++, std::move(exchange), std::move(waiting), client});
      shares_.add(client);
      waiting_.set(requests_.size());
      const PendingRequest& request = requests_.back();
      // A web server whose client has disconnected closes its connection and sends nothing before.
      watch(events_.get(), request.exchange.descriptor(), EPOLLRDHUP, request.id);
      is_first_of_job = watched_.insert(job).second;
    }
  }
  if (exchange.pending()) return exchange.answer(too_busy());
  for (PendingRequest& request : evicted) {
    const CauseScope scope(request.waiting.request.cause);
    request.exchange.answer(too_busy());
  }
  wakeup_->signal();  // the next deadline may be this one
  if (is_first_of_job) job->on_finished([wakeup = wakeup_] { wakeup->signal(); });
}

// False if no client has more than its share; the caller holds the mutex.
bool PendingRequests::make_room_for(const std::string& client, Requests& evicted) {
  const auto candidates = shares_.above_share_of(client);
  if (candidates.empty()) return false;
  const auto newest = std::find_if(requests_.rbegin(), requests_.rend(),
                                   [&](const PendingRequest& request) { return request.client == candidates.front(); });
  take(std::prev(newest.base()), evicted);
  return true;
}

// The caller holds the mutex.
void PendingRequests::take(Requests::iterator request, Requests& into) {
  epoll_ctl(events_.get(), EPOLL_CTL_DEL, request->exchange.descriptor(), nullptr);
  shares_.remove(request->client);
  into.splice(into.end(), requests_, request);
  waiting_.set(requests_.size());
}

// -1 for none, as epoll_wait() expects.
int PendingRequests::milliseconds_to_next_deadline() const {
  const std::lock_guard lock(mutex_);
  if (requests_.empty()) return -1;
  const auto next =
      std::ranges::min_element(requests_, {}, [](const PendingRequest& request) { return request.waiting.deadline; });
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next->waiting.deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX));
}

void PendingRequests::run() {
  std::array<epoll_event, 64> events;
  for (;;) {
    const int count =
        epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), milliseconds_to_next_deadline());
    std::vector<std::uint64_t> hung_up;
    for (int i = 0; i < count; ++i) {
      const std::uint64_t id = events[static_cast<std::size_t>(i)].data.u64;
      std::uint64_t signals = 0;
      if (id != wakeup_id)
        hung_up.push_back(id);
      else if (read(wakeup_->event.get(), &signals, sizeof signals) < 0 && errno != EAGAIN && errno != EINTR)
        log::error("cannot read an eventfd", {{"errno", std::to_string(errno)}});
    }

    Requests left, done;
    {
      const std::lock_guard lock(mutex_);
      if (closing_) return;
      const auto now = Clock::now();
      for (auto request = requests_.begin(); request != requests_.end();) {
        const auto next = std::next(request);
        if (std::ranges::find(hung_up, request->id) != hung_up.end())
          take(request, left);
        else if (request->waiting.deadline <= now || request->waiting.job->finished())
          take(request, done);
        request = next;
      }
      std::erase_if(watched_, [](const auto& job) { return job->finished(); });
    }
    for (PendingRequest& request : left) request.exchange.hang_up();
    for (PendingRequest& request : done) answer(request);
  }
}

}  // namespace nixery::http
