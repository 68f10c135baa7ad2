#include "kubernetes/api_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <memory>
#include <mutex>

#include "json/json.h"
#include "os/file.h"

namespace nixery::kubernetes {

namespace {

constexpr std::size_t largest_body = 8u << 20;  // of one page of a list; an object has at most 3 MiB
constexpr long connect_limit = 10;              // seconds
constexpr std::chrono::seconds longest_retry_after{3600};

using Sink = std::function<void(std::string_view)>;

// The thread's own handle, with its connections; nothing else of the request before is left in it.
CURL* fresh_handle() {
  static std::once_flag initialised;
  std::call_once(initialised, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  thread_local const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle(curl_easy_init(), curl_easy_cleanup);
  if (!handle) throw std::bad_alloc();
  curl_easy_reset(handle.get());
  return handle.get();
}

// One request; libcurl's callbacks, which must not throw, and what they have seen.
class Transfer {
 public:
  Transfer(const std::string& url, const std::stop_token& stop, std::chrono::seconds limit)
      : url_(url), stop_(stop), curl_(fresh_handle()), headers_(nullptr, curl_slist_free_all) {
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));  // a watch has a connection to itself
    set(CURLOPT_CONNECTTIMEOUT, connect_limit);
    set(CURLOPT_TIMEOUT, static_cast<long>(limit.count()));
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_PROXY, "");  // the API server and the registry are near; a proxy of the environment is not meant
    set(CURLOPT_TCP_KEEPALIVE, 1L);
    set(CURLOPT_TCP_KEEPIDLE, 20L);
    set(CURLOPT_TCP_KEEPINTVL, 5L);
    set(CURLOPT_USERAGENT, "nixery/" NIXERY_VERSION);
    set(CURLOPT_ERRORBUFFER, reason_);
    set(CURLOPT_WRITEFUNCTION, on_body);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_HEADERFUNCTION, on_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, on_progress);
    set(CURLOPT_XFERINFODATA, this);
  }

  template <class Value>
  void set(CURLoption option, Value value) {
    if (const CURLcode code = curl_easy_setopt(curl_, option, value); code != CURLE_OK)
      throw Error(Failure::unavailable, fmt::format("libcurl: {}", curl_easy_strerror(code)));
  }

  void set_pem(CURLoption option, const std::string& pem) {
    curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_COPY};
    set(option, &blob);
  }

  void header(const std::string& line) {
    curl_slist* list = curl_slist_append(headers_.get(), line.c_str());
    if (!list) throw std::bad_alloc();
    (void)headers_.release();
    headers_.reset(list);
  }

  // Bodies of 200 go to `sink`; without one, and of other statuses, they are kept.
  Response run(const Sink* sink = nullptr) {
    sink_ = sink;
    set(CURLOPT_HTTPHEADER, headers_.get());
    const CURLcode code = curl_easy_perform(curl_);
    if (thrown_) std::rethrow_exception(thrown_);
    if (code != CURLE_OK)
      throw Error(Failure::unavailable,
                  fmt::format("cannot ask {}: {}", url_.substr(0, url_.find('?')),
                              stop_.stop_requested() ? "stopping" : (*reason_ ? reason_ : curl_easy_strerror(code))));
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &response_.status);
    return std::move(response_);
  }

 private:
  static std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* self) {
    return static_cast<Transfer*>(self)->take({bytes, size * count});
  }
  std::size_t take(std::string_view bytes) {
    try {
      long status = 0;
      curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
      if (sink_ && status == 200) {
        (*sink_)(bytes);
      } else {
        if (response_.body.size() + bytes.size() > largest_body)
          throw TooLarge(fmt::format("{} answers with more than {} bytes", url_, largest_body));
        response_.body.append(bytes);
      }
    } catch (...) {
      thrown_ = std::current_exception();
      return CURL_WRITEFUNC_ERROR;
    }
    return bytes.size();
  }

  static std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* self) {
    auto& response = static_cast<Transfer*>(self)->response_;
    std::string_view line(bytes, size * count);
    if (line.starts_with("HTTP/")) response = {};  // of "100 Continue" nothing stays
    const auto colon = line.find(':');
    if (colon == line.npos) return size * count;
    const std::string name(line.substr(0, colon));
    line.remove_prefix(colon + 1);
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    while (!line.empty() && (line.back() == '\r' || line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
    if (strcasecmp(name.c_str(), "retry-after") == 0) {
      long seconds = 0;
      const auto [end, code] = std::from_chars(line.data(), line.data() + line.size(), seconds);
      if (code == std::errc{} && end == line.data() + line.size() && seconds >= 0)
        response.retry_after = std::min(std::chrono::seconds(seconds), longest_retry_after);
    } else if (strcasecmp(name.c_str(), "docker-content-digest") == 0) {
      response.digest = line;
    } else if (strcasecmp(name.c_str(), "location") == 0) {
      response.location = line;
    }
    return size * count;
  }

  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Transfer*>(self)->stop_.stop_requested() ? 1 : 0;
  }

  const std::string url_;
  const std::stop_token stop_;
  char reason_[CURL_ERROR_SIZE] = "";
  CURL* const curl_;
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers_;
  const Sink* sink_ = nullptr;
  Response response_;
  std::exception_ptr thrown_;
};

// As kubectl: what the file says now goes before a token that was written down once.
std::string token_of(const ClusterAccess& access) {
  if (access.token_file.empty()) return access.token;
  std::string token, problem = fmt::format("there is no token in {}", access.token_file.string());
  try {
    token = os::read_if_exists(access.token_file).value_or("");
  } catch (const Error& error) {
    problem = error.what();
  }
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (!token.empty()) return token;
  if (access.token.empty()) throw Error(Failure::unavailable, problem);
  return access.token;
}

void log_in(Transfer& transfer, const ClusterAccess& access) {
  // The cluster's own CA alone: libcurl would look into the system's directory of them, too.
  if (!access.ca_pem.empty() || !access.ca_file.empty()) transfer.set<const char*>(CURLOPT_CAPATH, nullptr);
  if (!access.ca_pem.empty()) transfer.set_pem(CURLOPT_CAINFO_BLOB, access.ca_pem);
  if (!access.ca_file.empty()) transfer.set(CURLOPT_CAINFO, access.ca_file.c_str());
  if (access.insecure) {
    transfer.set(CURLOPT_SSL_VERIFYPEER, 0L);
    transfer.set(CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!access.client_cert_pem.empty()) transfer.set_pem(CURLOPT_SSLCERT_BLOB, access.client_cert_pem);
  if (!access.client_cert_file.empty()) transfer.set(CURLOPT_SSLCERT, access.client_cert_file.c_str());
  if (!access.client_key_pem.empty()) transfer.set_pem(CURLOPT_SSLKEY_BLOB, access.client_key_pem);
  if (!access.client_key_file.empty()) transfer.set(CURLOPT_SSLKEY, access.client_key_file.c_str());
  if (const std::string token = token_of(access); !token.empty()) transfer.header("Authorization: Bearer " + token);
}

std::string message_of(const std::string& request, const Response& response) {
  std::string message;
  try {
    message = json::string_or(json::parse(response.body, "the answer"), "message", "");
  } catch (const Error&) {
  }
  return fmt::format("{}: HTTP status {}{}{}", request, response.status, message.empty() ? "" : ": ", message);
}

std::string reason_of(const Response& response) {
  try {
    return json::string_or(json::parse(response.body, "the answer"), "reason", "");
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

ApiError::ApiError(const std::string& request, const Response& response)
    : Error(Failure::unavailable, message_of(request, response)),
      status(response.status),
      reason(reason_of(response)),
      retry_after(response.retry_after) {}

Response ApiClient::request(const std::string& method, const std::string& path, std::string_view body,
                            const char* content_type, std::chrono::seconds limit) const {
  Transfer transfer(access_.server + path, stop_, limit);
  log_in(transfer, access_);
  transfer.header("Accept: application/json");
  if (method != "GET") {
    transfer.header(fmt::format("Content-Type: {}", content_type));
    transfer.header("Expect:");
    transfer.set(CURLOPT_CUSTOMREQUEST, method.c_str());
    transfer.set(CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    transfer.set(CURLOPT_COPYPOSTFIELDS, body.data() ? body.data() : "");
  }
  Response response = transfer.run();
  if (response.status < 200 || response.status > 299)
    throw ApiError(fmt::format("{} {}", method, path.substr(0, path.find('?'))), response);
  return response;
}

void ApiClient::stream(const std::string& path, std::chrono::seconds limit, const Sink& sink) const {
  Transfer transfer(access_.server + path, stop_, limit);
  log_in(transfer, access_);
  transfer.header("Accept: application/json");
  const Response response = transfer.run(&sink);
  if (response.status != 200) throw ApiError(fmt::format("GET {}", path.substr(0, path.find('?'))), response);
}

Response get(const std::string& url, const std::string& accept, std::chrono::seconds limit,
             const std::stop_token& stop) {
  Transfer transfer(url, stop, limit);
  transfer.header("Accept: " + accept);
  return transfer.run();
}

}  // namespace nixery::kubernetes
