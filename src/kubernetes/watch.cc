#include "kubernetes/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "error.h"
#include "kubernetes/work_queue.h"
#include "log.h"
#include "text/encoding.h"
#include "text/lines.h"

namespace nixery::kubernetes {

namespace {

using std::chrono::seconds;

constexpr std::size_t longest_line = 16u << 20;  // no object is that large

// The known state may be stale; a new list is needed.
struct Relist {
  std::string why;
};

class Follower {
 public:
  Follower(const ApiClient& client, const ObjectList& collection, const Observer& observer, const std::stop_token& stop)
      : client_(client), collection_(collection), observer_(observer), stop_(stop), page_size_(collection.page_size) {}

  void run() {
    while (!stop_.stop_requested()) {
      try {
        if (!version_.empty() && Clock::now() >= relist_at_) version_.clear();
        if (!version_.empty() && was_away_) check_history();
        if (version_.empty()) list();
        watch();
      } catch (const Relist& relist) {
        log::info("listing again", {{"collection", collection_.path}, {"reason", relist.why}});
        version_.clear();
        pause({});
      } catch (const http_client::TooLarge&) {
        page_size_ = std::max(1u, page_size_ / 4);
        pause({});
      } catch (const ApiError& error) {
        // 404: the resource does not exist. A later one of that name has other versions.
        if (error.status == 410 || error.status == 404) version_.clear();
        report(error.status == 404 ? fmt::format("{}: is the CustomResourceDefinition applied?", error.what())
                                   : std::string(error.what()));
        was_away_ |= error.status >= 500;
        pause(error.retry_after);
      } catch (const Error& error) {
        report(error.what());
        was_away_ = true;
        pause({});
      }
    }
  }

 private:
  void report(const std::string& problem) {
    if (stop_.stop_requested() || problem == reported_) return;
    log::warning("cannot follow the collection", {{"collection", collection_.path}, {"error", problem}});
    reported_ = problem;
  }

  void works() {
    failures_ = 0;
    was_away_ = false;
    if (!reported_.empty()) log::info("following the collection again", {{"collection", collection_.path}});
    reported_.clear();
  }

  void pause(std::optional<seconds> retry_after) {
    const auto own = back_off(failures_++, collection_.least_wait, collection_.most_wait, random_part());
    wait(retry_after ? std::max<milliseconds>(*retry_after, own) : own, stop_);
  }

  json::Document fetch_list(const std::string& query) const {
    json::Document page = json::parse(client_.request("GET", collection_.path + query).body, "the list");
    const json::Value* items = json::find(page, "items");
    if (!items || !items->IsArray() || resource_version_of(page).empty())
      throw Error(Failure::unavailable, fmt::format("{}: the response is not a list", collection_.path));
    return page;
  }

  void check_history() {
    if (is_older(resource_version_of(fetch_list("?limit=1")), version_))
      throw Relist{"the server's versions are older than ours"};
    was_away_ = false;
  }

  void list() {
    std::string next;
    bool paged = page_size_ > 0;
    observer_.listing();
    while (true) {
      std::string query = paged ? fmt::format("?limit={}", page_size_) : "";
      if (!next.empty()) query += "&continue=" + text::percent_encode(next);
      json::Document page;
      try {
        page = fetch_list(query);
      } catch (const ApiError& error) {
        if (error.status != 410 || next.empty()) throw;
        // All pages belong to one snapshot, which has expired on the server.
        observer_.listing();
        next.clear();
        paged = false;
        continue;
      }
      for (const json::Value& item : json::find(page, "items")->GetArray()) observer_.item(item);
      next = json::string_or(*json::find(page, "metadata"), "continue", "");
      if (!next.empty()) continue;
      observer_.listed();
      version_ = resource_version_of(page);
      relist_at_ = Clock::now() + collection_.relist;
      return;
    }
  }

  void watch() {
    const seconds limit(
        static_cast<seconds::rep>(static_cast<double>(collection_.least_watch.count()) * (1 + random_part())));
    const std::string path = fmt::format("{}?watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
                                         collection_.path, text::percent_encode(version_), limit.count());
    const auto begun = Clock::now();
    bool any = false;
    text::LineBuffer lines;
    client_.stream(path, limit + seconds(30), [&](std::string_view bytes) {
      lines.add(bytes, [&](std::string_view line) {
        if (line.empty() || line == "\r") return;
        take(line);
        any = true;
        works();
      });
      if (lines.rest().size() > longest_line) throw Error(Failure::unavailable, "watch: a line is too long");
    });
    // A watch that ends at once, with nothing, is one that a proxy in between does not support.
    if (!any && Clock::now() - begun < seconds(1)) return pause({});
    works();
  }

  void take(std::string_view line) {
    using Type = WatchEvent::Type;
    WatchEvent event;
    try {
      event = parse_watch_event(line);
    } catch (const Error& error) {
      throw Relist{error.what()};
    }
    if (event.type == Type::error) refuse(event.object);
    const std::string version = resource_version_of(event.object);
    if (event.type == Type::deleted) observer_.deleted(event.object);
    if (event.type == Type::added || event.type == Type::modified) observer_.changed(event.object);
    if (!version.empty()) version_ = version;
  }

  [[noreturn]] static void refuse(const json::Value& status) {
    const std::string message = json::string_or(status, "message", "the watch failed");
    if (json::integer_at(status, "code") != 429) throw Relist{message};
    std::optional<seconds> retry_after;
    const json::Value* details = json::find(status, "details");
    if (const auto wait = details ? json::integer_at(*details, "retryAfterSeconds") : std::nullopt; wait && *wait > 0)
      retry_after = std::min(seconds(*wait), seconds(60));
    throw ApiError("watch: " + message, 429, retry_after);
  }

  const ApiClient& client_;
  const ObjectList& collection_;
  const Observer& observer_;
  const std::stop_token stop_;
  unsigned page_size_;
  std::string version_;          // up to which everything is known; empty: unknown
  Clock::time_point relist_at_;  // when everything is listed again
  bool was_away_ = false;        // the server did not respond or was unavailable
  std::string reported_;         // the last logged problem; empty: none
  unsigned failures_ = 0;
};

}  // namespace

WatchEvent parse_watch_event(std::string_view line) {
  json::Document document = json::parse(line, "the watch");
  const std::string type = json::string_or(document, "type", "");
  WatchEvent event;
  if (type == "ADDED") {
    event.type = WatchEvent::Type::added;
  } else if (type == "MODIFIED") {
    event.type = WatchEvent::Type::modified;
  } else if (type == "DELETED") {
    event.type = WatchEvent::Type::deleted;
  } else if (type == "BOOKMARK") {
    event.type = WatchEvent::Type::bookmark;
  } else if (type == "ERROR") {
    event.type = WatchEvent::Type::error;
  } else {
    throw Error(Failure::bad_config, fmt::format("the watch: no event has the type '{}'", type.substr(0, 40)));
  }
  const json::Value* object = json::find(document, "object");
  if (!object || !object->IsObject()) throw Error(Failure::bad_config, "the watch: an event has no object");
  event.object.CopyFrom(*object, event.object.GetAllocator());
  return event;
}

std::string resource_version_of(const json::Value& object) {
  const json::Value* metadata = json::find(object, "metadata");
  return metadata ? json::string_or(*metadata, "resourceVersion", "") : "";
}

bool is_older(std::string_view a, std::string_view b) {
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text[0] != '0' && text::all(text, text::is_digit);
  };
  if (!is_number(a) || !is_number(b)) return false;
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

std::string key_of(const json::Value& object) {
  const json::Value* metadata = json::find(object, "metadata");
  if (!metadata) return "/";
  return fmt::format("{}/{}", json::string_or(*metadata, "namespace", ""), json::string_or(*metadata, "name", ""));
}

bool wait(milliseconds duration, const std::stop_token& stop) {
  const auto end = Clock::now() + duration;
  while (!stop.stop_requested() && Clock::now() < end)
    std::this_thread::sleep_for(std::min<Clock::duration>(milliseconds(50), end - Clock::now()));
  return !stop.stop_requested();
}

void follow(const ApiClient& client, const ObjectList& collection, const Observer& observer,
            const std::stop_token& stop) {
  Follower(client, collection, observer, stop).run();
}

}  // namespace nixery::kubernetes
