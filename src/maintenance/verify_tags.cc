#include "maintenance/verify_tags.h"

#include <optional>

#include "maintenance/inventory.h"
#include "reference/reference.h"
#include "tree/records.h"
#include "tree/tag_change.h"

namespace nixery::maintenance {

namespace {

bool has_any(const tree::BlobStore& store, tree::Kind kind) {
  bool any = false;
  store.list(kind, "", [&](const tree::ObjectName&, const tree::ObjectInfo&) {
    any = true;
    return false;
  });
  return any;
}

class Tags {
 public:
  Tags(Findings& findings, const tree::Tree& tree)
      : findings_(findings),
        tree_(tree),
        has_records_(has_any(tree.store(), tree::Kind::record) || has_any(tree.store(), tree::Kind::image)) {}

  void check() {
    Inventory inventory;
    list_tags(tree_.store(), inventory);
    findings_.count(&Verification::tags, inventory.tags.size());
    for (const Tag& tag : inventory.tags) check(tag);
    check_records();
  }

 private:
  void check(const Tag& tag) {
    const std::string name = fmt::format("{}:{}", tag.repository, tag.tag);
    const auto drop = [&] { tree_.drop_tag(tag.repository, tag.tag); };
    const auto digest = tree_.digest_of_tag(tag.repository, tag.tag);
    if (!tree_.store().has(tree::ObjectName::tag(tag.repository, tag.tag))) return;  // it is gone
    if (!digest) return findings_.problem("tag", name, "it leads to no manifest", drop);
    if (!tree_.manifest(*digest))
      return findings_.problem("tag", name,
                               fmt::format("it leads to the manifest {}, which is not there", digest->str()), drop);
    if (!reference::is_digest_tag(tag.tag)) check_record(tag, name, *digest);
  }

  void check_record(const Tag& tag, const std::string& name, const image::Digest& digest) {
    const auto record = tree::read_record(tree_.store(), tag.repository, tag.tag);
    if (record && record->manifest != digest.str() && tree::contradicts_record(tree_, tag.repository, tag.tag))
      return findings_.problem(
          "tag", name, fmt::format("it leads to another image than {}, which was built for it", record->manifest),
          [&] { tree::drop_tag_with_record(tree_, *record); });
    // Damaged ones are reported as such; the tag of a commit never moves.
    if (record || !has_records_ || reference::is_commit(tag.tag) ||
        tree_.store().has(tree::ObjectName::record(tag.repository, tag.tag)))
      return;
    findings_.problem("record", name, "the tag has no record: it would stay as it is when its source moves",
                      [&] { tree::drop_tag_without_record(tree_, tag.repository, tag.tag); });
  }

  void check_records() {
    tree::for_each_damaged_record(tree_.store(), [&](std::string_view repository, std::string_view tag) {
      findings_.problem("record", fmt::format("{}:{}", repository, tag), "it is damaged",
                        [&] { tree::drop_tag_without_record(tree_, repository, tag); });
    });
    tree::for_each_record(tree_.store(), [&](const tree::TagRecord& record) {
      const auto manifest = image::Digest::parse(record.manifest);
      if (tree_.digest_of_tag(record.repository, record.tag) || tree_.manifest(*manifest)) return;
      findings_.harmless("record", fmt::format("{}:{}", record.repository, record.tag),
                         "neither its tag nor its manifest is there",
                         [&] { tree_.store().remove(tree::ObjectName::record(record.repository, record.tag)); });
    });
  }

  Findings& findings_;
  const tree::Tree& tree_;
  const bool has_records_;  // false for images that were copied here without their state
};

}  // namespace

void verify_tags(Findings& findings, const tree::Tree& tree) {
  Tags(findings, tree).check();
}

}  // namespace nixery::maintenance
