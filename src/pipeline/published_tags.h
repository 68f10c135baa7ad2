// Publishes tags as the last step of a pipeline, and drops outdated ones.
#pragma once

#include <cstddef>
#include <stop_token>
#include <string>
#include <string_view>

#include "nix/source.h"
#include "pipeline/declared_set.h"
#include "pipeline/resolved_image.h"
#include "pipeline/settings.h"
#include "reference/reference.h"
#include "tree/records.h"
#include "tree/tree.h"
#include "tree/tree_lock.h"

namespace nixery::pipeline {

// Thread-safe, and safe between processes. Throws Error{storage}, and Error{unavailable} once stop is requested.
class PublishedTags {
 public:
  // `settings_key`: see keys.h. `settings` and `tree` must outlive this.
  PublishedTags(const PipelineSettings& settings, std::string settings_key, const tree::Tree& tree)
      : settings_(settings), settings_key_(std::move(settings_key)), tree_(tree) {}

  // Publishes the tag of an image of the tree, after its signatures and its record, which a refresh uses. Idempotent.
  // The image was published or touched under the lock that is held.
  void publish(const reference::Reference& reference, const BuiltImage& image, const tree::SharedTreeLock& held,
               const std::stop_token& stop) const;

  // The record of the reference's tag, if the tag is up to date.
  std::optional<tree::TagRecord> current(const reference::Reference& reference) const;
  // Whether the reference's tag, if it exists, is up to date with the declaration and settings.
  bool matches(const reference::Reference& reference) const;

  // Drops the tag if its image's declaration has changed or was removed, if it is of packages under a name that is
  // declared now, or if it was built under other settings. True if it did.
  bool drop_if_outdated(const Declarations& declarations, const tree::TagRecord& record) const;
  // Drops all such tags; returns their number. Call it at start and after changes of declarations, and for one tag
  // after publishing it, because declarations may have changed meanwhile.
  std::size_t drop_outdated(const Declarations& declarations) const;
  void drop_if_outdated(const Declarations& declarations, const reference::Reference& reference) const;

  // Drops moving tags whose source has moved or is not served any more; returns their number. Tags of unreachable
  // sources stay.
  std::size_t drop_moved(nix::Source& source, const std::stop_token& stop) const;
  // Drops tags with damaged records, whose source is unknown; returns their number.
  std::size_t drop_damaged() const;

 private:
  bool matches(const reference::Reference& reference, const std::optional<tree::TagRecord>& record) const;
  bool is_of_these_settings(const tree::TagRecord& record) const;
  std::string_view reason_to_drop(const Declarations& declarations, const tree::TagRecord& record) const;
  bool drop(const tree::TagRecord& record, std::string_view reason) const;

  const PipelineSettings& settings_;
  const std::string settings_key_;
  const tree::Tree& tree_;
};

}  // namespace nixery::pipeline
