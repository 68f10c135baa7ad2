#include "nix/download.h"

#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <fmt/format.h>

#include <memory>
#include <mutex>

#include "cause.h"
#include "error.h"
#include "nix/source.h"
#include "os/file.h"

namespace nixery::nix {

namespace {

constexpr std::size_t largest_body = 4u << 20;
constexpr long connect_limit = 20;  // seconds
constexpr long stalled_bytes_per_second = 1024;
constexpr long stalled_limit = 60;  // seconds below that speed

using Sink = std::size_t (*)(char*, std::size_t, std::size_t, void*);

// Curl asks this at least once a second; anything but 0 ends the transfer.
int is_stopped(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::stop_token*>(stop)->stop_requested() ? 1 : 0;
}

// One transfer into `sink`; the HTTP status.
long transfer(const std::string& url, Sink sink, void* target, const std::stop_token& stop) {
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
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, stalled_bytes_per_second);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, stalled_limit);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "nixery/" NIXERY_VERSION);
  curl_easy_setopt(curl.get(), CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, sink);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, target);
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, curl_slist_free_all);
  if (const auto& trace = current_cause().trace) {
    headers.reset(curl_slist_append(nullptr, fmt::format("traceparent: {}", trace->str()).c_str()));
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  }
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, is_stopped);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &stop);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK)
    throw Error(Failure::unavailable, fmt::format("cannot get {}: {}", without_credentials(url),
                                                  *reason ? reason : curl_easy_strerror(code)));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return status;
}

std::size_t append_bounded(char* bytes, std::size_t size, std::size_t count, void* target) {
  auto& body = *static_cast<std::string*>(target);
  if (body.size() + size * count > largest_body) return 0;
  body.append(bytes, size * count);
  return size * count;
}

std::size_t write_to_file(char* bytes, std::size_t size, std::size_t count, void* target) {
  auto& file = *static_cast<os::PendingFile*>(target);
  try {
    file.write({bytes, size * count});
  } catch (const Error&) {
    return 0;  // curl reports it as a write error
  }
  return size * count;
}

[[noreturn]] void fail(archive* handle, const std::string& url) {
  const char* reason = archive_error_string(handle);
  throw Error(Failure::unavailable,
              fmt::format("cannot unpack {}: {}", without_credentials(url), reason ? reason : "bad archive"));
}

void unpack(const std::filesystem::path& file, const std::filesystem::path& directory, const std::string& url,
            const std::stop_token& stop) {
  const std::unique_ptr<archive, decltype(&archive_read_free)> in(archive_read_new(), archive_read_free);
  const std::unique_ptr<archive, decltype(&archive_write_free)> out(archive_write_disk_new(), archive_write_free);
  archive_read_support_format_tar(in.get());
  archive_read_support_filter_all(in.get());
  archive_write_disk_set_options(out.get(), ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                                                ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME);
  if (archive_read_open_filename(in.get(), file.c_str(), 256 << 10) != ARCHIVE_OK) fail(in.get(), url);
  archive_entry* entry = nullptr;
  int code;
  while ((code = archive_read_next_header(in.get(), &entry)) == ARCHIVE_OK || code == ARCHIVE_WARN) {
    if (stop.stop_requested())
      throw Error(Failure::unavailable, fmt::format("cannot unpack {}: stopped", without_credentials(url)));
    const std::string name = archive_entry_pathname(entry);
    const auto slash = name.find('/');
    if (slash == name.npos || slash + 1 == name.size()) continue;
    archive_entry_set_pathname(entry, (directory / name.substr(slash + 1)).c_str());
    if (const char* link = archive_entry_hardlink(entry)) {
      const std::string target = link;
      archive_entry_set_hardlink(
          entry, (directory / target.substr(std::min(target.find('/'), target.size() - 1) + 1)).c_str());
    }
    if (archive_write_header(out.get(), entry) < ARCHIVE_WARN) fail(out.get(), url);
    const void* block;
    std::size_t size;
    la_int64_t offset;
    while ((code = archive_read_data_block(in.get(), &block, &size, &offset)) == ARCHIVE_OK)
      if (archive_write_data_block(out.get(), block, size, offset) < ARCHIVE_WARN) fail(out.get(), url);
    if (code != ARCHIVE_EOF) fail(in.get(), url);
    if (archive_write_finish_entry(out.get()) < ARCHIVE_WARN) fail(out.get(), url);
  }
  if (code != ARCHIVE_EOF) fail(in.get(), url);
}

}  // namespace

Answer get(const std::string& url, const std::stop_token& stop) {
  Answer answer;
  answer.status = transfer(url, append_bounded, &answer.body, stop);
  return answer;
}

void get_and_unpack(const std::string& url, const std::filesystem::path& directory, const std::stop_token& stop) {
  os::PendingFile file(directory.parent_path());
  const long status = transfer(url, write_to_file, &file, stop);
  if (status != 200)
    throw Error(Failure::unavailable, fmt::format("cannot get {}: HTTP status {}", without_credentials(url), status));
  unpack(file.path(), directory, url, stop);
}

}  // namespace nixery::nix
