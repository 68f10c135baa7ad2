// Tags as the last step of a pipeline publishes them, and whether they still stand for what they should.
#pragma once

#include <cstddef>
#include <stop_token>
#include <string>
#include <string_view>

#include "nix/source.h"
#include "pipeline/declared_set.h"
#include "pipeline/settings.h"
#include "reference/reference.h"
#include "tree/records.h"
#include "tree/tree.h"

namespace nixery::pipeline {

// Thread-safe, and safe between processes. Throws Error{storage}, and Error{unavailable} once stop is requested.
class PublishedTags {
 public:
  // `settings_key`: see keys.h. `settings` and `tree` must outlive this.
  PublishedTags(const PipelineSettings& settings, std::string settings_key, const tree::Tree& tree)
      : settings_(settings), settings_key_(std::move(settings_key)), tree_(tree) {}

  // Publishes the tag of an image of the tree, after its signatures and the record by which a moving tag is found
  // again. Idempotent. Throws Error{unavailable} if the image has been removed meanwhile.
  void publish(const reference::Reference& reference, const image::Digest& manifest, std::string_view revision,
               bool moving, const std::stop_token& stop) const;

  // The record of the reference's tag, if the tag leads to an image that stands for what the reference means now.
  std::optional<tree::TagRecord> current(const reference::Reference& reference) const;
  // Whether the reference's tag, if there is one, stands for what the reference declares now, under these settings.
  bool matches(const reference::Reference& reference) const;

  // Drops the tag of an image whose declaration has changed or gone, of packages under a name that is declared now, or
  // of an image built under other settings. True if it did.
  bool drop_if_outdated(const Declarations& declarations, const tree::TagRecord& record) const;
  // All such tags; how many. To be called at start and when declarations have changed; and for one tag after it is
  // published, as they may have changed meanwhile.
  std::size_t drop_outdated(const Declarations& declarations) const;
  void drop_if_outdated(const Declarations& declarations, const reference::Reference& reference) const;

  // Drops moving tags whose source has moved, or is not served any more; how many. A source that cannot be asked leaves
  // its tags as they are.
  std::size_t drop_moved(nix::Source& source, const std::stop_token& stop) const;
  // Drops tags whose records are damaged, as nobody knows what they stand for; how many.
  std::size_t drop_damaged() const;

 private:
  bool is_of_these_settings(const tree::TagRecord& record) const;
  std::string_view reason_to_drop(const Declarations& declarations, const tree::TagRecord& record) const;
  bool drop(const tree::TagRecord& record, std::string_view reason) const;

  const PipelineSettings& settings_;
  const std::string settings_key_;
  const tree::Tree& tree_;
};

}  // namespace nixery::pipeline
