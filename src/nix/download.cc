#include "nix/download.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <exception>
#include <functional>
#include <memory>
#include <mutex>

#include "cause.h"
#include "error.h"
#include "nix/source.h"
#include "nix/unpack.h"
#include "os/file.h"

namespace nixery::nix {

namespace {

constexpr std::size_t largest_body = 4u << 20;
constexpr std::uint64_t largest_archive = 4ull << 30;
constexpr long body_limit = 120, archive_limit = 3600;  // seconds
constexpr long connect_limit = 20;                      // seconds
constexpr long stalled_bytes_per_second = 1024;
constexpr long stalled_limit = 60;  // seconds below that speed

// What takes the bytes, as curl decoded them; it may throw.
struct Sink {
  std::function<void(std::string_view)> write;
  std::uint64_t most;  // bytes
  std::exception_ptr failure = {};
};

std::size_t hand_to(char* bytes, std::size_t size, std::size_t count, void* target) {
  auto& sink = *static_cast<Sink*>(target);
  if (size * count > sink.most) return 0;
  sink.most -= size * count;
  try {
    sink.write({bytes, size * count});
  } catch (...) {
    sink.failure = std::current_exception();
    return 0;
  }
  return size * count;
}

// Curl asks this at least once a second; anything but 0 ends the transfer.
int is_stopped(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::stop_token*>(stop)->stop_requested() ? 1 : 0;
}

// One transfer into `sink`; the HTTP status.
long transfer(const std::string& url, Sink sink, long limit, const std::stop_token& stop) {
  static std::once_flag initialised;
  std::call_once(initialised, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) throw std::bad_alloc();
  char reason[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXREDIRS, 10L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, connect_limit);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, limit);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, stalled_bytes_per_second);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, stalled_limit);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "nixery/" NIXERY_VERSION);
  curl_easy_setopt(curl.get(), CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, hand_to);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &sink);
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, curl_slist_free_all);
  if (const auto& trace = current_cause().trace) {
    headers.reset(curl_slist_append(nullptr, fmt::format("traceparent: {}", trace->str()).c_str()));
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  }
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, is_stopped);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &stop);
  const CURLcode code = curl_easy_perform(curl.get());
  if (sink.failure) std::rethrow_exception(sink.failure);
  if (code == CURLE_WRITE_ERROR)
    throw Error(Failure::unavailable, fmt::format("cannot get {}: the answer is too large", without_credentials(url)));
  if (code != CURLE_OK)
    throw Error(Failure::unavailable, fmt::format("cannot get {}: {}", without_credentials(url),
                                                  *reason ? reason : curl_easy_strerror(code)));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return status;
}

}  // namespace

Answer get(const std::string& url, const std::stop_token& stop) {
  Answer answer;
  answer.status =
      transfer(url, {[&](std::string_view bytes) { answer.body += bytes; }, largest_body}, body_limit, stop);
  return answer;
}

void get_and_unpack(const std::string& url, const std::filesystem::path& directory, const std::stop_token& stop) {
  os::PendingFile file(directory.parent_path());
  const long status =
      transfer(url, {[&](std::string_view bytes) { file.write(bytes); }, largest_archive}, archive_limit, stop);
  if (status != 200)
    throw Error(Failure::unavailable, fmt::format("cannot get {}: HTTP status {}", without_credentials(url), status));
  try {
    unpack(file.path(), directory, {}, stop);
  } catch (const Error& error) {
    if (error.failure() != Failure::unavailable) throw;
    throw Error(Failure::unavailable, fmt::format("cannot unpack {}: {}", without_credentials(url), error.what()));
  }
}

}  // namespace nixery::nix
