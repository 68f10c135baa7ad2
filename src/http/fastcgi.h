// One FastCGI request on a connection that acceptor.h has accepted, by libfcgi.
//
// libfcgi parses and writes the records. Framing of our own would be a second parser of what strangers send, to save
// nothing: all that libfcgi does besides is avoided here. It accepts no connection, and with `detached` it closes at
// once, so neither its listening socket nor its lingering matters; those are also the only two places where versions
// before 2.4.2 call select(), which a descriptor over 1,023 would make corrupt the stack. So the worker needs no limit
// of descriptors below the one that it was given. `detached` is in 2.4.1 and later, which meson.build asks for.
#pragma once

#include <fcgiapp.h>

#include <memory>
#include <optional>
#include <string_view>

#include "http/access_log.h"
#include "http/message.h"
#include "os/fd.h"

namespace nixery::http {

// Bytes of one piece of an answer that comes in pieces, at most: half of what a socket takes that says it is writable.
inline constexpr std::size_t piece_size = 48u << 10;

// One request in our hands. It can be moved to another thread and answered there; dropped, it is ended unanswered.
class Exchange {
 public:
  // Reads the request of a connection on which one has arrived whole (acceptor.h); nullopt where it is none. The answer
  // is noted in `access_log`, where there is one, which must outlive it.
  static std::optional<Exchange> read(os::Fd connection, const AccessLog* access_log = nullptr);
  Exchange(Exchange&&) = default;
  ~Exchange();

  const Request& request() const { return request_; }
  // Whether it still wants an answer.
  bool pending() const { return raw_ != nullptr; }
  // It waits for a job, or did.
  void waits() { stats_.waited = true; }
  // Sends the answer (its head only, for HEAD) and ends the request.
  void answer(const Response& response);

  // An answer in pieces: begin() with its head, send() as often as ready() says, and drop the exchange to end it. Both
  // are false where nobody listens any more.
  bool begin(const Response& head);
  bool send(std::string_view text);
  // Whether a piece of `piece_size` could be sent now without waiting for a slow client.
  enum class Readiness { ready, busy, gone };
  Readiness readiness() const;
  // Of its connection, to be watched for the web server's hanging up.
  int descriptor() const { return raw_->ipcFd; }
  // Ends it at once, with nothing more sent: nobody takes the answer.
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
