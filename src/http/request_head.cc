#include "http/request_head.h"

#include <cstdint>
#include <optional>
#include <utility>

namespace nixery::http {

namespace {

// FastCGI's record types that matter here.
constexpr unsigned begin_request = 1, parameters = 4;
constexpr std::size_t header_size = 8;

unsigned byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

// The length that begins a name-value pair (3.4): one byte, or four if the first has its high bit set. nullopt at the
// end.
std::optional<std::size_t> take_length(std::string_view& pairs) {
  if (pairs.empty()) return std::nullopt;
  const bool is_long = byte_at(pairs, 0) >= 0x80;
  if (is_long && pairs.size() < 4) return std::nullopt;
  const std::size_t length =
      is_long ? (byte_at(pairs, 0) & 0x7f) << 24 | byte_at(pairs, 1) << 16 | byte_at(pairs, 2) << 8 | byte_at(pairs, 3)
              : byte_at(pairs, 0);
  pairs.remove_prefix(is_long ? 4 : 1);
  return length;
}

std::string value_of(std::string_view pairs, std::string_view wanted) {
  while (true) {
    const auto name = take_length(pairs);
    const auto value = name ? take_length(pairs) : std::nullopt;
    if (!value || *name > pairs.size() || *value > pairs.size() - *name) return {};
    if (pairs.substr(0, *name) == wanted) return std::string(pairs.substr(*name, *value));
    pairs.remove_prefix(*name + *value);
  }
}

}  // namespace

RequestHead read_head(std::string_view bytes) {
  unsigned request = 0;  // 0: not begun
  std::string pairs;
  while (bytes.size() >= header_size) {
    const unsigned type = byte_at(bytes, 1), id = byte_at(bytes, 2) << 8 | byte_at(bytes, 3);
    const std::size_t length = byte_at(bytes, 4) << 8 | byte_at(bytes, 5), padding = byte_at(bytes, 6);
    if (byte_at(bytes, 0) != 1) return {RequestState::malformed};
    if (id == 0) {
      // A record of the connection, not of a request.
    } else if (request == 0) {
      if (type != begin_request || length != 8) return {RequestState::malformed};
      request = id;
    } else if (type == parameters && id == request) {
      if (length == 0) return {RequestState::complete, value_of(pairs, "REMOTE_ADDR")};
      pairs += bytes.substr(header_size, length);
    }
    if (bytes.size() < header_size + length + padding) break;
    bytes.remove_prefix(header_size + length + padding);
  }
  return {};
}

}  // namespace nixery::http
