// What a collection removes, decided from plain values. Pure.
//
// The unit is an image: a manifest that has a tag, or that no index and no subject holds. What it holds (an index's
// members, attached documents and signatures, blobs) lives for as long as anything that holds it. An image that is past
// `max_age` goes; where that is not enough for `max_size`, those go too that were not used for longest. Images that a
// keep rule names stay, by a name that they have now or by their digest, and everything stays that is younger than
// `grace`, or that a build counts on now, whatever its time.
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
  std::vector<DroppedImage> images;  // in the order in which they were chosen
  std::vector<Number> tags, manifests, blobs;
  std::uint64_t freed = 0;  // bytes of those manifests and blobs
  std::uint64_t left = 0;   // bytes of those that stay
};

// `last_use` is what the web server knows of a manifest: the epoch where it knows nothing.
Selection select(const Inventory& inventory, const std::function<os::Time(const image::Digest&)>& last_use,
                 const Policy& policy, os::Time now);

}  // namespace nixery::maintenance
