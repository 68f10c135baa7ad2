// The custom resource NixImage: what its objects declare, and their status. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/json.h"

namespace nixery::kubernetes {

inline constexpr const char* api_version = "k8s.nixos.org/v1alpha";
inline constexpr const char* field_manager = "nixery-controller";
inline constexpr std::size_t max_object_name = 128;  // so that the image's name and the file's stay short enough
inline constexpr std::size_t max_message = 4096;     // bytes of a condition's; Kubernetes allows 32768
inline constexpr std::size_t max_data = 32 << 10;    // bytes of `data` as JSON: a cluster has many of them

struct Condition {
  std::string type;    // "Ready"
  std::string status;  // "True", "False" or "Unknown"
  std::string reason;  // "BuildFailed"
  std::string message;
  std::int64_t observed_generation = 0;
  std::string last_transition;  // "2026-01-02T03:04:05Z"

  bool operator==(const Condition&) const = default;
};

struct Status {
  std::int64_t observed_generation = 0;
  std::vector<Condition> conditions;  // Resolved, Built, Ready, in this order
  std::string digest, reference;      // empty: not there
  std::optional<std::uint64_t> size, layers;
  std::string last_error;

  bool operator==(const Status&) const = default;
};

struct NixImage {
  std::string namespace_name, name, uid;
  std::string version;  // its resourceVersion
  std::int64_t generation = 0;
  std::string created;  // "2026-01-02T03:04:05Z": sorts by time
  std::string tag;      // latest where the object says nothing
  // The field `data`, as JSON, and its hash; both empty where it is missing, or too large to be declared.
  std::string data, data_hash;
  Status status;

  std::string key() const { return namespace_name + "/" + name; }
  // Keeps the hash alone.
  void leave_data() { std::string().swap(data); }
  bool has_left_data() const { return data.empty() && !data_hash.empty(); }
};

// Throws Error{bad_config} for what has no name or namespace. `data` is not looked at: see declared_json().
NixImage parse_nix_image(const json::Value& object);

// The file of a declared image (reference/declared.h), and the hash by which the registry knows it.
struct Declaration {
  std::string text, hash;
};
// Of this name, checked as the registry does. Throws Error{bad_config} with what is wrong with the object's data.
Declaration declare(const NixImage& image, const std::string& name);

// For the status subresource, as a server-side apply: all fields that we own, and no others. With the resourceVersion
// that we have seen, so that it conflicts where the object is another one by now, or has changed (a uid alone is not
// looked at there): what a controller that has lost its Lease still had on its way is not written over its successor's.
std::string status_patch(const NixImage& image, const Status& status);

// `wanted` with the transition times of `current` where a condition's status is the same, and else `now`.
Status with_transitions(Status wanted, const Status& current, const std::string& now);

// An Event of events.k8s.io/v1. Its name is chosen here, so that a retry creates no second one.
struct Event {
  bool warning = false;
  std::string reason;  // "Built"
  std::string action;  // "Build"
  std::string note;
  std::string time;  // with microseconds: "2026-01-02T03:04:05.678901Z"
  std::string name;  // "curl-and-jq.18a3f0c2b4d5e6f7"
};
Event event_of(const NixImage& image, bool warning, const std::string& reason, const std::string& note);
std::string event_json(const NixImage& image, const Event& event, const std::string& instance);

// At most `most` bytes, never ending within a character.
std::string shortened(std::string_view text, std::size_t most);

std::string timestamp_now();        // seconds
std::string micro_timestamp_now();  // microseconds

}  // namespace nixery::kubernetes
