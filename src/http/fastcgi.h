// One FastCGI request on a connection that acceptor.h has accepted, by libfcgi.
//
// libfcgi parses and writes the records. Own framing would be a second parser of untrusted input without a benefit,
// because the rest of libfcgi is not used: it accepts no connection, and with `detached` it closes at once. Accepting
// and lingering are the only two places where versions before 2.4.2 call select(), which corrupts the stack for
// descriptors over 1,023. So the worker does not lower its limit of descriptors. `detached` needs 2.4.1, which
// meson.build requires.
#pragma once

#include <fcgiapp.h>

#include <memory>
#include <optional>
#include <string_view>

#include "http/access_log.h"
#include "http/message.h"
#include "os/fd.h"

namespace nixery::http {

// Most bytes of one piece of a response in pieces: half of what a writable socket accepts.
inline constexpr std::size_t piece_size = 48u << 10;

// One request. It can be moved to another thread and answered there; the destructor ends it without a response.
class Exchange {
 public:
  // Reads the request of a connection on which a complete one has arrived (acceptor.h); nullopt if it is malformed. The
  // response is recorded in `access_log`, which may be null and must outlive it.
  static std::optional<Exchange> read(os::Fd connection, const AccessLog* access_log = nullptr);
  Exchange(Exchange&&) = default;
  ~Exchange();

  const Request& request() const { return request_; }
  // Whether it is still unanswered.
  bool pending() const { return raw_ != nullptr; }
  // Marks that it waits for a job.
  void waits() { stats_.waited = true; }
  // Sends the response (only its head for HEAD) and ends the request.
  void answer(const Response& response);

  // A response in pieces: begin() with its head, send() whenever ready() is true, and destroy the exchange to end it.
  // Both are false if the client has disconnected.
  bool begin(const Response& head);
  bool send(std::string_view text);
  // Whether a piece of `piece_size` could be sent now without waiting for a slow client.
  enum class Readiness { ready, busy, gone };
  Readiness readiness() const;
  // The connection's descriptor, to watch for a hang-up of the web server.
  int descriptor() const { return raw_->ipcFd; }
  // Ends it at once without sending more, because nobody receives the response.
  void hang_up();

 private:
  struct Finish {
    bool hastily;  // false unless set: waits a moment for the web server to close
    void operator()(FCGX_Request* raw) const;
  };
  Exchange(std::unique_ptr<FCGX_Request, Finish> raw, const AccessLog* access_log);
  bool put(std::string_view text);
  void end();

  std::unique_ptr<FCGX_Request, Finish> raw_;  // on the heap: its streams point back to it
  Request request_;
  const AccessLog* access_log_;
  ResponseStats stats_;
};

}  // namespace nixery::http
