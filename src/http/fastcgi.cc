#include "http/fastcgi.h"

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <mutex>

namespace nixery::http {

namespace {

// Waits at most a second for the web server to close: one that is still sending would lose the response otherwise.
void linger(int fd) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::seconds(1);
  if (shutdown(fd, SHUT_WR) != 0) return;
  char discarded[1024];
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd readable{fd, POLLIN, 0};
    if (left <= 0 || poll(&readable, 1, static_cast<int>(left)) <= 0) return;
    if (recv(fd, discarded, sizeof discarded, MSG_DONTWAIT) <= 0) return;
  }
}

}  // namespace

void Exchange::Finish::operator()(FCGX_Request* raw) const {
  if (raw->in) {
    FCGX_FClose(raw->err);
    FCGX_FClose(raw->out);  // sends the end of the request
    if (!hastily) linger(raw->ipcFd);
  }
  raw->detached = 1;  // libfcgi would linger as long as the peer keeps sending
  FCGX_Free(raw, 1);  // closes even if the web server wants to keep the connection
  delete raw;
}

Exchange::Exchange(std::unique_ptr<FCGX_Request, Finish> raw, const AccessLog* access_log)
    : raw_(std::move(raw)),
      request_(read_request([this](const char* name) { return FCGX_GetParam(name, raw_->envp); })),
      access_log_(access_log) {}

Exchange::~Exchange() {
  end();
}

// Recorded first, so that a client with the whole response finds it counted.
void Exchange::end() {
  if (raw_ && access_log_ && stats_.status != 0) access_log_->note(request_, stats_);
  raw_.reset();
}

std::optional<Exchange> Exchange::read(os::Fd connection, const AccessLog* access_log) {
  static std::once_flag initialised;
  std::call_once(initialised, [] { FCGX_Init(); });
  std::unique_ptr<FCGX_Request, Finish> raw(new FCGX_Request);
  // The request is complete, so this only fails if libfcgi parses it differently.
  const timeval to_receive{5, 0}, to_send{30, 0};
  setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &to_receive, sizeof to_receive);
  setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &to_send, sizeof to_send);
  FCGX_InitRequest(raw.get(), -1, FCGI_FAIL_ACCEPT_ON_INTR);  // it must not accept another connection instead
  raw->ipcFd = connection.release();
  raw->keepConnection = 1;  // otherwise it would close the connection first
  raw->detached = 1;        // otherwise it would linger at the end
  if (FCGX_Accept_r(raw.get()) < 0 || FCGX_GetError(raw->in) != 0) return std::nullopt;
  return Exchange(std::move(raw), access_log);
}

void Exchange::answer(const Response& response) {
  const std::string head = head_of(response, request_.cause.request);
  stats_.status = response.status;
  FCGX_PutStr(head.data(), static_cast<int>(head.size()), raw_->out);
  if (request_.method != "HEAD") {
    stats_.bytes = length_of(response);
    FCGX_PutStr(response.body.data(), static_cast<int>(response.body.size()), raw_->out);
    if (response.file)
      response.file->read([this](std::string_view bytes) {
        return FCGX_PutStr(bytes.data(), static_cast<int>(bytes.size()), raw_->out) >= 0;
      });
  }
  end();
}

bool Exchange::begin(const Response& head) {
  // Limits the wait for one client if the readiness check was wrong.
  const timeval send_timeout{1, 0};
  setsockopt(raw_->ipcFd, SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof send_timeout);
  raw_.get_deleter().hastily = true;  // by now the web server has sent everything
  stats_.status = head.status;
  return put(head_of(head, request_.cause.request));
}

bool Exchange::send(std::string_view text) {
  stats_.bytes += text.size();
  return put(text);
}

bool Exchange::put(std::string_view text) {
  return FCGX_PutStr(text.data(), static_cast<int>(text.size()), raw_->out) >= 0 && FCGX_FFlush(raw_->out) == 0;
}

Exchange::Readiness Exchange::readiness() const {
  pollfd socket{raw_->ipcFd, POLLOUT | POLLRDHUP, 0};
  if (poll(&socket, 1, 0) < 0) return Readiness::busy;
  if (socket.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) return Readiness::gone;
  return socket.revents & POLLOUT ? Readiness::ready : Readiness::busy;
}

void Exchange::hang_up() {
  shutdown(raw_->ipcFd, SHUT_RDWR);
  raw_.get_deleter().hastily = true;
  end();
}

}  // namespace nixery::http
