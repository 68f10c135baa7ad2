// Inspects a FastCGI request before libfcgi reads it: whether it is complete, and its client.
#pragma once

#include <string>
#include <string_view>

namespace nixery::http {

// How much of a request has arrived, up to its last parameter (FastCGI 1.0, 3.3 and 5).
enum class RequestState { incomplete, complete, malformed };

struct RequestHead {
  RequestState state = RequestState::incomplete;
  std::string client = {};  // REMOTE_ADDR of a complete request; empty if it has none
};

// Parses the first bytes on a connection.
RequestHead read_head(std::string_view bytes);

}  // namespace nixery::http
