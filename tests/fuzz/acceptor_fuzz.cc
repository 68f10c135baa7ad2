// The first bytes of a connection, as FastCGI records, from any client of the socket: is the request complete,
// incomplete or malformed?
#include "check.h"
#include "http/request_head.h"

using namespace nixery;
using fuzz::require;
using http::RequestState;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  const RequestState state = http::read_head(bytes).state;
  require(size >= 8 || state == RequestState::incomplete, "without a header nothing is decided", bytes);
  // Later bytes can decide an incomplete request but not change a decision.
  RequestState before = RequestState::incomplete;
  for (std::size_t count = 0; count <= size; ++count) {
    const RequestState now = http::read_head(bytes.substr(0, count)).state;
    require(before == RequestState::incomplete || now == before, "what is decided stays so", bytes);
    before = now;
  }
  // A complete request has a begin record, and its parameters have ended.
  if (state == RequestState::complete)
    require(bytes.find(std::string_view("\x01\x01", 2)) != bytes.npos &&
                bytes.find(std::string_view("\x01\x04", 2)) != bytes.npos,
            "a whole request has both of its records", bytes);
  return 0;
}
