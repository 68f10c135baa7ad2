// A collection of objects, followed: a list of it, then what changes.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "json/json.h"
#include "kubernetes/api_client.h"

namespace nixery::kubernetes {

// Bytes as they come -> whole lines. Not thread-safe.
class Lines {
 public:
  // Throws Error{unavailable} for a line that does not end within 16 MiB: no object is that large.
  void feed(std::string_view bytes, const std::function<void(std::string_view line)>& on_line);

 private:
  std::string rest_;
};

struct WatchEvent {
  enum class Type { added, modified, deleted, bookmark, error };
  Type type;
  json::Document object;  // of an error the Status
};

// One line of a watch. Throws Error{bad_config} for what is none.
WatchEvent parse_watch_event(std::string_view line);

// Of an object's metadata; empty where it has none.
std::string resource_version_of(const json::Value& object);
// "<namespace>/<name>"
std::string key_of(const json::Value& object);

// Called by follow(), in its thread. An Error of `listed` means that the list is tried again.
struct Observer {
  // A complete list: what is not in it does not exist.
  std::function<void(std::vector<json::Document> objects)> listed;
  std::function<void(json::Document object)> changed;
  std::function<void(const json::Value& object)> deleted;
};

struct Collection {
  std::string path;  // "/apis/k8s.nixos.org/v1alpha/niximages"
  unsigned page_size = 500;
  std::chrono::milliseconds least_wait{500}, most_wait{30'000};  // after failures
};

// Until `stop` is true. Lists page by page; a list that expires on the way is begun again, as one page. Then watches,
// from where the list or the last event was, again each time the server ends it. Lists anew after 410 Gone or an ERROR
// event that says so; waits as long as Retry-After says, else ever longer, with jitter. Failures are logged.
void follow(const ApiClient& client, const Collection& collection, const Observer& observer,
            const std::atomic<bool>& stop);

// False once stop is true.
bool wait(std::chrono::milliseconds duration, const std::atomic<bool>& stop);

}  // namespace nixery::kubernetes
