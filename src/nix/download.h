// HTTP GET of what package sources publish: small responses into memory, archives straight to disk.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>

#include "http_client/http_client.h"

namespace nixery::nix {

// At most 4 MiB in two minutes; follows redirects. Any status is a response. Throws Error{unavailable} if none comes,
// or `stop` is requested before. Thread-safe.
http_client::Response get(const std::string& url, const std::stop_token& stop = {});

// Fetches the archive at `url` (at most 4 GiB, in an hour) and unpacks it into `directory`, as unpack.h says. Throws
// Error{unavailable, storage}; `directory` may then hold a part.
void get_and_unpack(const std::string& url, const std::filesystem::path& directory, const std::stop_token& stop = {});

}  // namespace nixery::nix
