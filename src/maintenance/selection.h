// Decides what a collection removes. Pure.
//
// The unit is an image: a manifest with a tag, or one that belongs to no index and no subject. What it holds (an
// index's members, attached documents and signatures, blobs) is kept as long as any holder. Images older than `max_age`
// are removed; if that is not enough for `max_size`, the least recently used ones, too. Images of a keep rule stay, by
// a present name or by digest, and so does everything younger than `grace` or in use by a running build.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "maintenance/inventory.h"

namespace nixery::maintenance {

struct Policy {
  std::optional<std::chrono::seconds> max_age;  // since an image's last use
  std::optional<std::uint64_t> max_size;        // bytes of the tree's manifests and blobs
  std::chrono::seconds grace{3600};             // since the last use, or publishing
  std::vector<std::string> keep;                // globs of "repository", "repository:tag", or "sha256:<64 hex>"
};

struct DroppedImage {
  Number manifest;
  os::Time last_use;
  enum class Reason { age, size } reason;
};

struct Selection {
  std::vector<DroppedImage> images;  // in the order of selection
  std::vector<Number> tags, manifests, blobs;
  std::uint64_t freed = 0;  // bytes of those manifests and blobs
  std::uint64_t left = 0;   // bytes of those that stay
};

// `last_use` is a manifest's last pull by the web server's log; the epoch if unknown.
Selection select(const Inventory& inventory, const std::function<os::Time(const image::Digest&)>& last_use,
                 const Policy& policy, os::Time now);

}  // namespace nixery::maintenance
