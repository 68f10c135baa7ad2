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
inline constexpr std::size_t max_object_name = 128;  // keeps the image's name and the file's name short enough
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

struct ImageStatus {
  std::int64_t observed_generation = 0;
  std::vector<Condition> conditions;  // Resolved, Built, Ready, in this order
  std::string digest, reference;      // empty: not set
  std::optional<std::uint64_t> size, layers;
  std::string last_error;

  bool operator==(const ImageStatus&) const = default;
};

struct NixImage {
  std::string namespace_name, name, uid;
  std::string version;  // its resourceVersion
  std::int64_t generation = 0;
  std::string created;  // "2026-01-02T03:04:05Z": sorts by time
  std::string tag;      // default: latest
  // The field `data`, as JSON, and its hash; both are empty if it is missing or too large.
  std::string data, data_hash;
  ImageStatus status;

  std::string key() const { return namespace_name + "/" + name; }
  // Drops `data` and keeps the hash.
  void leave_data() { std::string().swap(data); }
  bool has_left_data() const { return data.empty() && !data_hash.empty(); }
};

// Throws Error{bad_config} if the object has no name or namespace. Does not check `data`: declare() does.
NixImage parse_nix_image(const json::Value& object);

// The file of a declared image (reference/declared.h), and its hash in the registry.
struct ImageDeclaration {
  std::string text, hash;
};
// Makes the declaration under this name and checks it as the registry does. Throws Error{bad_config} with the problem
// in the object's data.
ImageDeclaration declare(const NixImage& image, const std::string& name);

// Server-side apply of the status subresource, with exactly the fields that the controller owns. It contains the
// observed resourceVersion, so that it conflicts if the object was changed or replaced (the uid alone is not checked
// there). A late request of a controller that lost its Lease therefore does not overwrite its successor's status.
std::string status_patch(const NixImage& image, const ImageStatus& status);

// `wanted`, with the transition times of `current` for conditions of unchanged status and `now` for others.
ImageStatus with_transitions(ImageStatus wanted, const ImageStatus& current, const std::string& now);

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

// Truncates to at most `most` bytes, at a character boundary.
std::string shortened(std::string_view text, std::size_t most);

std::string timestamp_now();        // seconds
std::string micro_timestamp_now();  // microseconds

}  // namespace nixery::kubernetes
