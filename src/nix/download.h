// HTTP GET of what package sources publish: small answers into memory, archives straight to disk.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>

namespace nixery::nix {

struct Answer {
  long status = 0;
  std::string body;  // at most 4 MiB
};

// Follows redirects, http and https only; tells the trace that the thread works for (cause.h). Throws
// Error{unavailable} where no answer comes, or another thread sets `stop` before. Thread-safe.
Answer get(const std::string& url, const std::stop_token& stop = {});

// Fetches the archive at `url` (at most 4 GiB, in an hour) and unpacks it into `directory`, as unpack.h says. Throws
// Error{unavailable, storage}; `directory` may then hold a part.
void get_and_unpack(const std::string& url, const std::filesystem::path& directory, const std::stop_token& stop = {});

}  // namespace nixery::nix
