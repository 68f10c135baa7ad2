#include "nix/download.h"

#include <fmt/format.h>

#include "error.h"
#include "nix/unpack.h"
#include "os/file.h"
#include "text/url.h"

namespace nixery::nix {

namespace {

http_client::Request request_for(const std::string& url) {
  http_client::Request request{.url = url};
  request.max_redirects = 10;
  request.accepts_compression = true;
  request.stall_limit = std::chrono::seconds(60);
  return request;
}

}  // namespace

http_client::Response get(const std::string& url, const std::stop_token& stop) {
  return http_client::send(request_for(url), stop);
}

void get_and_unpack(const std::string& url, const std::filesystem::path& directory, const std::stop_token& stop) {
  os::PendingFile file(directory.parent_path());
  http_client::Request request = request_for(url);
  request.limit = std::chrono::hours(1);
  request.largest_body = 4ull << 30;
  request.sink = [&](std::string_view bytes) { file.write(bytes); };
  const std::string shown = text::without_credentials(url);
  if (const auto response = http_client::send(request, stop); response.status != 200)
    throw Error(Failure::unavailable, fmt::format("cannot get {}: HTTP status {}", shown, response.status));
  try {
    unpack(file.path(), directory, {}, stop);
  } catch (const Error& error) {
    if (error.failure() != Failure::unavailable) throw;
    throw Error(Failure::unavailable, fmt::format("cannot unpack {}: {}", shown, error.what()));
  }
}

}  // namespace nixery::nix
