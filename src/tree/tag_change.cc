#include "tree/tag_change.h"

#include <chrono>

namespace nixery::tree {

namespace {

constexpr std::chrono::minutes longest_wait{5};  // its holder writes two small files

LockHandle lock_of_tag(const BlobStore& store, std::string_view repository, std::string_view tag,
                       const std::stop_token& stop = {}) {
  return store.lock(image::KeyBuilder("tag").add(repository).add(tag).finish(), stop, BlobStore::LockMode::exclusive,
                    longest_wait);
}

void drop(const Tree& tree, std::string_view repository, std::string_view tag) {
  tree.drop_tag(repository, tag);
  remove_record(tree.store(), repository, tag);
}

}  // namespace

void publish_tag_with_record(const Tree& tree, const TagRecord& record, const image::Digest& manifest,
                             const std::stop_token& stop) {
  const auto lock = lock_of_tag(tree.store(), record.repository, record.tag, stop);
  // A process that is killed in between leaves a tag with an older record, which a refresh drops. A tag without a
  // record or with a newer one would never be refreshed.
  const bool has_record = read_record(tree.store(), record.repository, record.tag).has_value();
  if (!has_record) write_record(tree.store(), record);
  tree.publish_tag(record.repository, record.tag, manifest);
  if (has_record) write_record(tree.store(), record);
}

bool drop_tag_with_record(const Tree& tree, const TagRecord& record) {
  const auto lock = lock_of_tag(tree.store(), record.repository, record.tag);
  if (read_record(tree.store(), record.repository, record.tag) != record) return false;
  drop(tree, record.repository, record.tag);
  return true;
}

bool drop_tag_without_record(const Tree& tree, std::string_view repository, std::string_view tag) {
  const auto lock = lock_of_tag(tree.store(), repository, tag);
  if (read_record(tree.store(), repository, tag)) return false;
  drop(tree, repository, tag);
  return true;
}

bool contradicts_record(const Tree& tree, std::string_view repository, std::string_view tag) {
  const auto lock = lock_of_tag(tree.store(), repository, tag);
  const auto record = read_record(tree.store(), repository, tag);
  const auto manifest = tree.digest_of_tag(repository, tag);
  return record && manifest && manifest->str() != record->manifest;
}

}  // namespace nixery::tree
