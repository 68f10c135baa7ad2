#include "pipeline/published_tags.h"

#include <algorithm>
#include <map>
#include <vector>

#include "error.h"
#include "log.h"
#include "pipeline/attach.h"
#include "tree/tag_change.h"

namespace nixery::pipeline {

void PublishedTags::publish(const reference::Reference& reference, const BuiltImage& image, const tree::SharedTreeLock&,
                            const std::stop_token& stop) const {
  const tree::TagRecord record{reference.repository,         reference.tag,        image.revision.id,
                               image.revision.moving,        image.manifest.str(), reference.source_tag(),
                               reference.declaration_hash(), settings_key_};
  if (tree_.digest_of_tag(reference.repository, reference.tag) == image.manifest &&
      tree::read_record(tree_.store(), reference.repository, reference.tag) == record)
    return;
  if (settings_.signing_key)
    attach_signatures(tree_, *settings_.signing_key, settings_.signing_identity, reference.repository, image.manifest);
  tree::publish_tag_with_record(tree_, record, image.manifest, stop);
}

bool PublishedTags::is_of_these_settings(const tree::TagRecord& record) const {
  return record.settings.empty() || record.settings == settings_key_;
}

bool PublishedTags::matches(const reference::Reference& reference) const {
  return matches(reference, tree::read_record(tree_.store(), reference.repository, reference.tag));
}

bool PublishedTags::matches(const reference::Reference& reference, const std::optional<tree::TagRecord>& record) const {
  if (!record) return reference.declaration_hash().empty();
  return record->declaration == reference.declaration_hash() && is_of_these_settings(*record);
}

std::optional<tree::TagRecord> PublishedTags::current(const reference::Reference& reference) const {
  const auto digest = tree_.digest_of_tag(reference.repository, reference.tag);
  if (!digest || !tree_.manifest(*digest)) return std::nullopt;
  auto record = tree::read_record(tree_.store(), reference.repository, reference.tag);
  const bool is_current = record && record->manifest == digest->str() && matches(reference, record);
  return is_current ? std::move(record) : std::nullopt;
}

// The reason to drop the tag; empty if it stays.
std::string_view PublishedTags::reason_to_drop(const Declarations& declarations, const tree::TagRecord& record) const {
  // Signatures and documents belong to a manifest, regardless of its name.
  if (reference::is_digest_tag(record.tag)) return {};
  constexpr std::string_view changed = "its declaration changed";
  if (const auto declared = declarations.find(record.repository, record.tag)) {
    if (declared->hash != record.declaration) return changed;
  } else if (record.declaration.empty()) {
    if (!declarations.tags(record.repository).empty()) return changed;
  } else if (declarations.complete()) {  // otherwise it may be in an unreadable file
    return changed;
  }
  return is_of_these_settings(record) ? "" : "it was built under other settings";
}

bool PublishedTags::drop(const tree::TagRecord& record, std::string_view reason) const {
  if (!tree::drop_tag_with_record(tree_, record)) return false;
  log::info("tag dropped", {{"repository", record.repository},
                            {"tag", record.tag},
                            {"revision", record.revision},
                            {"reason", std::string(reason)}});
  return true;
}

bool PublishedTags::drop_if_outdated(const Declarations& declarations, const tree::TagRecord& record) const {
  const auto reason = reason_to_drop(declarations, record);
  return !reason.empty() && drop(record, reason);
}

void PublishedTags::drop_if_outdated(const Declarations& declarations, const reference::Reference& reference) const {
  if (const auto record = tree::read_record(tree_.store(), reference.repository, reference.tag))
    drop_if_outdated(declarations, *record);
}

std::size_t PublishedTags::drop_outdated(const Declarations& declarations) const {
  std::vector<tree::TagRecord> records;
  tree::for_each_record(tree_.store(), [&](const tree::TagRecord& record) { records.push_back(record); });
  return static_cast<std::size_t>(std::count_if(records.begin(), records.end(), [&](const tree::TagRecord& record) {
    return drop_if_outdated(declarations, record);
  }));
}

std::size_t PublishedTags::drop_moved(nix::Source& source, const std::stop_token& stop) const {
  // Source tag -> its present revision: empty if it is not served any more, nullopt if unknown.
  std::map<std::string, std::optional<std::string>> revisions;
  const auto revision_of = [&](const std::string& tag) -> std::optional<std::string> {
    try {
      return source.find(tag, stop).id;
    } catch (const Error& error) {
      if (error.failure() == Failure::unknown_tag || error.failure() == Failure::forbidden) return "";
      log::warning("cannot refresh", {{"tag", tag}, {"error", error.what()}});
      return std::nullopt;
    }
  };
  std::vector<tree::TagRecord> moved;
  tree::for_each_record(tree_.store(), [&](const tree::TagRecord& record) {
    if (!record.moving || stop.stop_requested()) return;
    auto known = revisions.find(record.source);
    if (known == revisions.end()) known = revisions.emplace(record.source, revision_of(record.source)).first;
    if (known->second && *known->second != record.revision) moved.push_back(record);
  });
  const auto dropped = std::count_if(moved.begin(), moved.end(),
                                     [&](const tree::TagRecord& record) { return drop(record, "its source moved"); });
  return static_cast<std::size_t>(dropped);
}

std::size_t PublishedTags::drop_damaged() const {
  std::vector<std::pair<std::string, std::string>> damaged;
  tree::for_each_damaged_record(
      tree_.store(), [&](std::string_view repository, std::string_view tag) { damaged.emplace_back(repository, tag); });
  std::size_t dropped = 0;
  for (const auto& [repository, tag] : damaged) {
    if (!tree::drop_tag_without_record(tree_, repository, tag)) continue;
    ++dropped;
    log::warning("tag dropped", {{"repository", repository}, {"tag", tag}, {"reason", "its record is damaged"}});
  }
  return dropped;
}

}  // namespace nixery::pipeline
