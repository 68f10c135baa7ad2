// A collection of objects, followed: a list of it, then what changes.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "json/json.h"
#include "kubernetes/api_client.h"

namespace nixery::kubernetes {

struct WatchEvent {
  enum class Type { added, modified, deleted, bookmark, error };
  Type type;
  json::Document object;  // of an error the Status
};

// One line of a watch. Throws Error{bad_config} for what is none.
WatchEvent parse_watch_event(std::string_view line);

// Of an object's metadata; empty where it has none.
std::string resource_version_of(const json::Value& object);
// Whether version `a` of an object is from before `b`. False if they are not decimal numbers, which cannot be compared.
bool is_older(std::string_view a, std::string_view b);
// "<namespace>/<name>"
std::string key_of(const json::Value& object);

// Called by follow(), in its thread. An Error of `listed` means that the list is tried again.
struct Observer {
  // A list, page by page: it begins, its objects come, it is complete. What is not in it does not exist. One that fails
  // on the way begins again.
  std::function<void()> listing;
  std::function<void(const json::Value& object)> item;
  std::function<void()> listed;
  std::function<void(const json::Value& object)> changed;
  std::function<void(const json::Value& object)> deleted;
};

struct Collection {
  std::string path;  // "/apis/k8s.nixos.org/v1alpha/niximages"
  unsigned page_size = 500;
  std::chrono::milliseconds least_wait{500}, most_wait{30'000};  // after failures
  std::chrono::seconds least_watch{300};  // and up to twice that, so that watches do not all end at once
  std::chrono::minutes relist{60};        // after which all is listed again, whatever the watches have reported
};

// Until `stop` is true. Lists as things are now (no resourceVersion: a list from some server's cache may be older than
// what was seen before, and would bring back what has been deleted), page by page. A list that expires on the way is
// begun again as one page; pages that are too large are asked for smaller. Then watches, from where the list or the
// last event was, again each time the server ends it.
//
// Lists again after 410 Gone, after an ERROR event or an event that cannot be understood, and after a server's absence
// from which it has come back with versions from before ours, as one that was restored: it would report nothing.
// Waits as long as Retry-After says, else ever longer, with jitter. A failure is logged once, not each time.
void follow(const ApiClient& client, const Collection& collection, const Observer& observer,
            const std::stop_token& stop);

// False once stop is true.
bool wait(std::chrono::milliseconds duration, const std::stop_token& stop);

}  // namespace nixery::kubernetes
