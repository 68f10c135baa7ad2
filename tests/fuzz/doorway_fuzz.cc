// The first bytes of a connection, as FastCGI records, from whoever reached the socket: is there a whole request, may
// there be one, or never?
#include "check.h"
#include "http/doorway.h"

using namespace nixery;
using fuzz::require;
using http::Arrival;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  const Arrival arrival = http::arrival_of(bytes);
  require(size >= 8 || arrival == Arrival::partly, "without a header nothing is decided", bytes);
  // What comes later may decide it, and changes nothing once it is.
  Arrival before = Arrival::partly;
  for (std::size_t count = 0; count <= size; ++count) {
    const Arrival now = http::arrival_of(bytes.substr(0, count));
    require(before == Arrival::partly || now == before, "what is decided stays so", bytes);
    before = now;
  }
  // A request has begun, and its parameters have ended.
  if (arrival == Arrival::wholly)
    require(bytes.find(std::string_view("\x01\x01", 2)) != bytes.npos &&
                bytes.find(std::string_view("\x01\x04", 2)) != bytes.npos,
            "a whole request has both of its records", bytes);
  return 0;
}
