#include "doctor/http_probe.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <strings.h>

#include <memory>
#include <mutex>
#include <new>
#include <string_view>

#include "error.h"
#include "nix/source.h"

namespace nixery::doctor {

namespace {

constexpr std::size_t largest_body = 64u << 10;

std::size_t take_body(char* bytes, std::size_t size, std::size_t count, void* target) {
  auto& body = static_cast<HttpAnswer*>(target)->body;
  if (body.size() < largest_body) body.append(bytes, std::min(size * count, largest_body - body.size()));
  return size * count;
}

std::size_t take_header(char* bytes, std::size_t size, std::size_t count, void* target) {
  constexpr std::string_view name = "Docker-Distribution-API-Version:";
  std::string_view line(bytes, size * count);
  if (line.size() > name.size() && strncasecmp(line.data(), name.data(), name.size()) == 0) {
    line.remove_prefix(name.size());
    const auto start = std::min(line.find_first_not_of(" \t"), line.size());
    const auto end = line.find_last_not_of(" \t\r\n") + 1;
    if (end > start) static_cast<HttpAnswer*>(target)->api_version = line.substr(start, end - start);
  }
  return size * count;
}

}  // namespace

HttpAnswer ask(const HttpQuestion& question) {
  static std::once_flag initialised;
  std::call_once(initialised, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) throw std::bad_alloc();
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> connect_to(
      question.connect_to.empty() ? nullptr
                                  : curl_slist_append(nullptr, fmt::format("::{}", question.connect_to).c_str()),
      curl_slist_free_all);
  HttpAnswer answer;
  char reason[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_URL, question.url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_CONNECT_TO, connect_to.get());
  if (question.direct) curl_easy_setopt(curl.get(), CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, static_cast<long>(question.limit.count()));
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "nixery/" NIXERY_VERSION);
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &answer);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK)
    throw Error(Failure::unavailable, fmt::format("cannot get {}: {}", nix::without_credentials(question.url),
                                                  *reason ? reason : curl_easy_strerror(code)));
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

}  // namespace nixery::doctor
