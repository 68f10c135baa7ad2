#include "kubernetes/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "error.h"
#include "kubernetes/work_queue.h"
#include "log.h"

namespace nixery::kubernetes {

namespace {

using std::chrono::seconds;

constexpr std::size_t longest_line = 16u << 20;
constexpr int least_watch_seconds = 300;  // and up to twice that, so that watches do not all end at once

// The resource version is too old: only a new list helps.
struct Expired {};

bool is_expired(const ApiError& error) {
  return error.status == 410;
}

class Follower {
 public:
  Follower(const ApiClient& client, const Collection& collection, const Observer& observer,
           const std::atomic<bool>& stop)
      : client_(client), collection_(collection), observer_(observer), stop_(stop) {}

  void run() {
    while (!stop_) {
      try {
        if (version_.empty()) list();
        watch();
      } catch (const Expired&) {
        log::info("watch expired", {{"collection", collection_.path}});
        version_.clear();
        pause({});
      } catch (const ApiError& error) {
        if (is_expired(error)) version_.clear();
        report(error);
        pause(error.retry_after);
      } catch (const Error& error) {
        report(error);
        pause({});
      }
    }
  }

 private:
  void report(const Error& error) const {
    if (!stop_)
      log::warning("cannot follow the collection", {{"collection", collection_.path}, {"error", error.what()}});
  }

  void pause(std::optional<seconds> retry_after) {
    const auto own = back_off(failures_++, collection_.least_wait, collection_.most_wait, random_part());
    wait(retry_after ? std::max<milliseconds>(*retry_after, own) : own, stop_);
  }

  void list() {
    std::vector<json::Document> objects;
    std::string next;
    bool paged = collection_.page_size > 0;
    while (true) {
      std::string path = collection_.path;
      if (paged) path += fmt::format("?limit={}", collection_.page_size);
      if (!next.empty()) path += "&continue=" + percent_encoded(next);
      Response response;
      try {
        response = client_.request("GET", path);
      } catch (const ApiError& error) {
        if (!is_expired(error) || next.empty()) throw;
        // Its pages are of one moment, which the server has forgotten.
        objects.clear();
        next.clear();
        paged = false;
        continue;
      }
      const json::Document page = json::parse(response.body, "the list");
      const json::Value* items = json::find(page, "items");
      const json::Value* metadata = json::find(page, "metadata");
      if (!items || !items->IsArray() || !metadata)
        throw Error(Failure::unavailable, fmt::format("{} answers with no list", collection_.path));
      for (const json::Value& item : items->GetArray())
        objects.emplace_back().CopyFrom(item, objects.back().GetAllocator());
      next = json::string_or(*metadata, "continue", "");
      if (!next.empty()) continue;
      const std::string version = resource_version_of(page);
      if (version.empty()) throw Error(Failure::unavailable, fmt::format("{} has no version", collection_.path));
      observer_.listed(std::move(objects));
      version_ = version;
      return;
    }
  }

  void watch() {
    const int limit = least_watch_seconds + static_cast<int>(random_part() * least_watch_seconds);
    const std::string path = fmt::format("{}?watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
                                         collection_.path, percent_encoded(version_), limit);
    const auto begun = Clock::now();
    bool any = false;
    Lines lines;
    client_.stream(path, seconds(limit + 30), [&](std::string_view bytes) {
      lines.feed(bytes, [&](std::string_view line) {
        take(parse_watch_event(line));
        any = true;
        failures_ = 0;
      });
    });
    // A watch that ends at once, with nothing, is one that somebody on the way does not carry.
    if (!any && Clock::now() - begun < seconds(1)) return pause({});
    failures_ = 0;
  }

  void take(WatchEvent event) {
    using Type = WatchEvent::Type;
    if (event.type == Type::error) {
      if (json::integer_at(event.object, "code") == 410) throw Expired{};
      throw Error(Failure::unavailable, fmt::format("watch: {}", json::string_or(event.object, "message", "error")));
    }
    const std::string version = resource_version_of(event.object);
    if (event.type == Type::deleted) observer_.deleted(event.object);
    if (event.type == Type::added || event.type == Type::modified) observer_.changed(std::move(event.object));
    if (!version.empty()) version_ = version;
  }

  const ApiClient& client_;
  const Collection& collection_;
  const Observer& observer_;
  const std::atomic<bool>& stop_;
  std::string version_;  // up to which everything is known; empty: nothing is
  unsigned failures_ = 0;
};

}  // namespace

void Lines::feed(std::string_view bytes, const std::function<void(std::string_view)>& on_line) {
  for (auto end = bytes.find('\n'); end != bytes.npos; end = bytes.find('\n')) {
    rest_.append(bytes.substr(0, end));
    bytes.remove_prefix(end + 1);
    const std::string line = std::exchange(rest_, {});
    if (!line.empty() && line != "\r") on_line(line);
  }
  rest_.append(bytes);
  if (rest_.size() > longest_line) throw Error(Failure::unavailable, "watch: a line has no end");
}

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

std::string key_of(const json::Value& object) {
  const json::Value* metadata = json::find(object, "metadata");
  if (!metadata) return "/";
  return fmt::format("{}/{}", json::string_or(*metadata, "namespace", ""), json::string_or(*metadata, "name", ""));
}

bool wait(milliseconds duration, const std::atomic<bool>& stop) {
  const auto end = Clock::now() + duration;
  while (!stop && Clock::now() < end)
    std::this_thread::sleep_for(std::min<Clock::duration>(milliseconds(50), end - Clock::now()));
  return !stop;
}

void follow(const ApiClient& client, const Collection& collection, const Observer& observer,
            const std::atomic<bool>& stop) {
  Follower(client, collection, observer, stop).run();
}

}  // namespace nixery::kubernetes
