// Follows a collection of objects: lists it, then watches its changes.
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
  json::Document object;  // for an error, the Status
};

// Parses one line of a watch. Throws Error{bad_config} if it is malformed.
WatchEvent parse_watch_event(std::string_view line);

// The resourceVersion of an object's metadata; empty if it has none.
std::string resource_version_of(const json::Value& object);
// Whether version `a` of an object is older than `b`. False if they are not decimal numbers, which cannot be compared.
bool is_older(std::string_view a, std::string_view b);
// "<namespace>/<name>"
std::string key_of(const json::Value& object);

// Called by follow(), in its thread. If `listed` throws Error, the list is retried.
struct Observer {
  // A list, page by page: begin, objects, end. Objects that are not in it do not exist. After a failure the list begins
  // again.
  std::function<void()> listing;
  std::function<void(const json::Value& object)> item;
  std::function<void()> listed;
  std::function<void(const json::Value& object)> changed;
  std::function<void(const json::Value& object)> deleted;
};

struct ObjectList {
  std::string path;  // "/apis/k8s.nixos.org/v1alpha/niximages"
  unsigned page_size = 500;
  std::chrono::milliseconds least_wait{500}, most_wait{30'000};  // after failures
  std::chrono::seconds least_watch{300};  // up to twice that, so that watches do not all end at once
  std::chrono::minutes relist{60};        // after which everything is listed again, regardless of watches
};

// Runs until stop is requested. Lists the current state page by page, without resourceVersion: a list from a server's
// cache may be older than what was seen before and would bring back deleted objects. If a list expires on the way, it
// is repeated as one page; too large pages are requested in smaller size. Then watches from the list's or the last
// event's version, and restarts the watch each time the server ends it.
//
// Lists again after 410 Gone, after an ERROR event or a malformed event, and if the server returns from an outage with
// older versions (restored from a backup), because a watch would then report nothing. Waits for Retry-After, or else
// with exponential back-off and jitter. A repeated failure is logged once.
void follow(const ApiClient& client, const ObjectList& collection, const Observer& observer,
            const std::stop_token& stop);

// False once stop is requested.
bool wait(std::chrono::milliseconds duration, const std::stop_token& stop);

}  // namespace nixery::kubernetes
