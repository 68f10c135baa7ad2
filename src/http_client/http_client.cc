#include "http_client/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <new>

#include "cause.h"
#include "text/ascii.h"
#include "text/number.h"
#include "text/url.h"

namespace nixery::http_client {

namespace {

constexpr std::size_t largest_head = 256u << 10, largest_error_body = 1u << 20;
constexpr long stalled_bytes_per_second = 1024;
constexpr std::uint64_t longest_retry_after = 3600;  // seconds

using Handle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

// The thread's own handle, with its connections, while no request uses it: a sink may send requests, too.
thread_local Handle idle_handle(nullptr, curl_easy_cleanup);

Handle take_handle() {
  static std::once_flag initialised;
  std::call_once(initialised, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  Handle handle = std::exchange(idle_handle, Handle(nullptr, curl_easy_cleanup));
  if (!handle) handle.reset(curl_easy_init());
  if (!handle) throw std::bad_alloc();
  return handle;
}

// A list of copied strings.
class StringList {
 public:
  void add(const std::string& line) {
    curl_slist* const longer = curl_slist_append(list_.get(), line.c_str());
    if (!longer) throw std::bad_alloc();
    (void)list_.release();
    list_.reset(longer);
  }
  curl_slist* get() const { return list_.get(); }

 private:
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> list_{nullptr, curl_slist_free_all};
};

// One request: libcurl's callbacks, which must not throw, and their results.
class Transfer {
 public:
  Transfer(const Request& request, const std::stop_token& stop)
      : request_(request), stop_(stop), handle_(take_handle()) {
    set(CURLOPT_URL, request.url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, request.max_redirects > 0 ? 1L : 0L);
    set(CURLOPT_MAXREDIRS, request.max_redirects);
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_USERAGENT, "nixery/" NIXERY_VERSION);
    if (request.accepts_compression) set(CURLOPT_ACCEPT_ENCODING, "");
    if (!request.uses_proxy) set(CURLOPT_PROXY, "");
    set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(request.connect_limit.count()));
    set(CURLOPT_TIMEOUT, static_cast<long>(request.limit.count()));
    set(CURLOPT_LOW_SPEED_LIMIT, stalled_bytes_per_second);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall_limit.count()));
    set(CURLOPT_TCP_KEEPALIVE, 1L);
    set(CURLOPT_TCP_KEEPIDLE, 20L);
    set(CURLOPT_TCP_KEEPINTVL, 5L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_ERRORBUFFER, reason_);
    set(CURLOPT_WRITEFUNCTION, on_body);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_HEADERFUNCTION, on_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, on_progress);
    set(CURLOPT_XFERINFODATA, this);
    if (!request.connect_to.empty()) connect_to_.add("::" + request.connect_to);
    set(CURLOPT_CONNECT_TO, connect_to_.get());
    if (request.tls) use(*request.tls);
    use_method();
    for (const std::string& line : request.headers) headers_.add(line);
    if (const auto& trace = current_cause().trace) headers_.add("traceparent: " + trace->str());
    set(CURLOPT_HTTPHEADER, headers_.get());
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() {
    curl_easy_reset(handle_.get());  // keeps connections
    idle_handle = std::move(handle_);
  }

  Response run() {
    const CURLcode code = curl_easy_perform(handle_.get());
    if (thrown_) std::rethrow_exception(thrown_);
    if (code != CURLE_OK) fail(code);
    response_.status = status();
    curl_header* header = nullptr;
    while ((header = curl_easy_nextheader(handle_.get(), CURLH_HEADER, -1, header)))
      response_.headers.emplace_back(header->name, header->value);
    return std::move(response_);
  }

 private:
  template <class Value>
  void set(CURLoption option, Value value) {
    if (const CURLcode code = curl_easy_setopt(handle_.get(), option, value); code != CURLE_OK) fail(code);
  }

  void set_pem(CURLoption text, const std::string& pem, CURLoption name, const std::filesystem::path& file) {
    curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
    if (!pem.empty()) set(text, &blob);
    if (!file.empty()) set(name, file.c_str());
  }

  void use(const Tls& tls) {
    // Only these authorities: libcurl would also use the system's CA directory.
    if (!tls.ca_pem.empty() || !tls.ca_file.empty()) set<const char*>(CURLOPT_CAPATH, nullptr);
    set_pem(CURLOPT_CAINFO_BLOB, tls.ca_pem, CURLOPT_CAINFO, tls.ca_file);
    set_pem(CURLOPT_SSLCERT_BLOB, tls.client_cert_pem, CURLOPT_SSLCERT, tls.client_cert_file);
    set_pem(CURLOPT_SSLKEY_BLOB, tls.client_key_pem, CURLOPT_SSLKEY, tls.client_key_file);
    set(CURLOPT_SSL_VERIFYPEER, tls.is_verified ? 1L : 0L);
    set(CURLOPT_SSL_VERIFYHOST, tls.is_verified ? 2L : 0L);
  }

  void use_method() {
    if (request_.method == "HEAD") return set(CURLOPT_NOBODY, 1L);
    if (request_.method == "GET") return;
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    set(CURLOPT_POSTFIELDS, request_.body.empty() ? "" : request_.body.data());
    set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    headers_.add("Expect:");
  }

  [[noreturn]] void fail(CURLcode code) const {
    const std::string shown = text::without_credentials(request_.url.substr(0, request_.url.find('?')));
    const std::string what = fmt::format("cannot {} {}", text::lower_case(request_.method), shown);
    if (taken_ > request_.largest_body)
      throw TooLarge(fmt::format("{}: the response has more than {} bytes", what, request_.largest_body));
    const char* const reason = stop_.stop_requested() ? "stopping" : *reason_ ? reason_ : curl_easy_strerror(code);
    throw Error(Failure::unavailable,
                fmt::format("{}: {}", what, head_ > largest_head ? "its header is too large" : reason));
  }

  long status() const {
    long status = 0;
    curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &status);
    return status;
  }

  static std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* self) {
    return static_cast<Transfer*>(self)->take({bytes, size * count});
  }
  std::size_t take(std::string_view bytes) {
    taken_ += bytes.size();
    if (taken_ > request_.largest_body) return CURL_WRITEFUNC_ERROR;
    try {
      if (!request_.sink) {
        response_.body += bytes;
      } else if (status() / 100 == 2) {
        request_.sink(bytes);
      } else {
        response_.body += bytes.substr(0, largest_error_body - response_.body.size());
      }
    } catch (...) {
      thrown_ = std::current_exception();
      return CURL_WRITEFUNC_ERROR;
    }
    return bytes.size();
  }

  static std::size_t on_header(char*, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    transfer.head_ += size * count;
    return transfer.head_ > largest_head ? CURL_WRITEFUNC_ERROR : size * count;
  }

  // Child processes must not inherit connections, which libcurl does not prevent.
  static curl_socket_t open_socket(void*, curlsocktype, curl_sockaddr* address) {
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  }

  // libcurl calls this at least once a second; a non-zero result ends the request.
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Transfer*>(self)->stop_.stop_requested() ? 1 : 0;
  }

  const Request& request_;
  const std::stop_token stop_;
  Handle handle_;
  StringList headers_, connect_to_;
  char reason_[CURL_ERROR_SIZE] = "";
  std::uint64_t taken_ = 0, head_ = 0;  // bytes
  std::exception_ptr thrown_;
  Response response_;
};

}  // namespace

std::string Response::header(std::string_view name) const {
  const auto found =
      std::ranges::find_if(headers, [&](const auto& header) { return text::equal_ignoring_case(header.first, name); });
  return found == headers.end() ? "" : found->second;
}

std::optional<std::chrono::seconds> Response::retry_after() const {
  const auto seconds = text::number<std::uint64_t>(header("Retry-After"));
  if (!seconds) return std::nullopt;
  return std::chrono::seconds(std::min(*seconds, longest_retry_after));
}

Response send(const Request& request, const std::stop_token& stop) {
  return Transfer(request, stop).run();
}

}  // namespace nixery::http_client
