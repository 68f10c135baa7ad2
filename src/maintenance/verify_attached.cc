#include "maintenance/verify_attached.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "attestations/signature.h"
#include "image/parse.h"
#include "maintenance/inventory.h"
#include "reference/reference.h"
#include "tree/records.h"
#include "tree/referrers.h"
#include "tree/tag_change.h"
#include "tree/tree_lock.h"

namespace nixery::maintenance {

namespace {

std::string name_of(const Tag& tag) {
  return fmt::format("{}:{}", tag.repository, tag.tag);
}

// Of the tag and its record, so that the next pull goes all the way. The record of another moment stays.
void drop(const tree::Tree& tree, const Tag& tag) {
  if (const auto record = tree::read_record(tree.store(), tag.repository, tag.tag))
    tree::drop_tag_with_record(tree, *record);
  else
    tree::drop_tag_without_record(tree, tag.repository, tag.tag);
}

std::set<image::Digest> subjects(const tree::BlobStore& store) {
  std::set<image::Digest> found;
  for (const tree::Kind kind : {tree::Kind::referrer, tree::Kind::referrers_index})
    store.list(kind, "", [&](const tree::ObjectName& name, const tree::ObjectInfo&) {
      if (const auto subject = name.digest()) found.insert(*subject);
      return true;
    });
  return found;
}

class Attached {
 public:
  Attached(Findings& findings, const tree::Tree& tree)
      : findings_(findings), tree_(tree), inventory_(list_files(tree.store())) {
    read_links(tree.store(), inventory_, Unreadable::skip);
    find_published();
  }

  void check() {
    for (const image::Digest& subject : subjects(tree_.store()))
      if (!tree_.manifest(subject))
        findings_.problem("referrers", subject.str(), "what they refer to is not there",
                          [&] { remove_referrers(subject); });
    for (Number subject = 0; subject < inventory_.manifests.size(); ++subject) check_list(subject);
    if (findings_.options().signatures)
      for (const Tag& tag : inventory_.tags) check_signatures(tag);
  }

 private:
  const image::Digest& digest_of(Number manifest) const { return inventory_.manifests[manifest].digest; }

  // Images that a tag leads to, by an index or by itself: all that is attached to them was published before that.
  void find_published() {
    published_.resize(inventory_.manifests.size());
    for (const Tag& tag : inventory_.tags)
      if (tag.manifest) {
        published_[*tag.manifest] = true;
        for (const Number member : inventory_.manifests[*tag.manifest].members) published_[member] = true;
      }
    for (const Manifest& manifest : inventory_.manifests)
      for (const Number subject : manifest.subjects)
        if (refers(manifest.digest, digest_of(subject))) referrers_[subject].push_back(manifest.digest);
  }

  // By its `subject`: signatures that only a tag attaches are in no list.
  bool refers(const image::Digest& manifest, const image::Digest& subject) const {
    const auto stored = tree_.manifest(manifest);
    if (!stored) return false;
    try {
      const auto parsed = image::parse_manifest(stored->bytes, manifest);
      return parsed.subject && parsed.subject->digest == subject;
    } catch (const Error&) {
      return false;
    }
  }

  std::optional<std::string> read_list(const image::Digest& subject) const {
    return tree::read_if_readable(tree_.store(), tree::ObjectName::referrers_index(subject));
  }

  // What is wrong with the subject's list as it is now; empty if nothing is.
  std::string fault_of(Number subject) const {
    const image::Digest& digest = digest_of(subject);
    const auto listed = read_list(digest);
    const auto descriptors = tree::referrers_of(tree_.store(), digest);
    const auto found = referrers_.find(subject);
    if (!listed && descriptors.empty() && found == referrers_.end()) return {};
    if (listed && !all_there(*listed, digest)) return "the list names what is not there, or cannot be read";
    if (found != referrers_.end())
      for (const image::Digest& referrer : found->second)
        if (std::none_of(descriptors.begin(), descriptors.end(),
                         [&](const image::Descriptor& each) { return each.digest == referrer; }))
          return fmt::format("the list lacks {}, which refers to it", referrer.str());
    if (listed != tree::referrers_index(descriptors)) return "the list is not that of what was attached";
    return {};
  }

  void check_list(Number subject) {
    std::string fault = fault_of(subject);
    if (fault.empty()) return;
    const auto fix = [&] { make_list_again(subject); };
    const std::string name = digest_of(subject).str();
    const auto listed = read_list(digest_of(subject));
    const bool is_wrong = listed && !all_there(*listed, digest_of(subject));
    if (!published_[subject] && !is_wrong) return findings_.harmless("referrers", name, fault, fix);
    if (!is_wrong) {
      { const tree::ExclusiveTreeLock nobody_publishes(tree_.store()); }  // who was about to write the list, has
      if ((fault = fault_of(subject)).empty()) return;
    }
    findings_.problem("referrers", name, fault, fix);
  }

  bool all_there(const std::string& list, const image::Digest& subject) const {
    try {
      const auto members = image::parse_manifest(list, subject).members;
      return std::all_of(members.begin(), members.end(), [&](const image::ParsedDescriptor& member) {
        const auto stored = tree_.manifest(member.digest);
        return stored && stored->bytes.size() == member.size;
      });
    } catch (const Error&) {
      return false;
    }
  }

  // Their manifests as well: if the subject is published again, it gets new ones, and no list would have these.
  void remove_referrers(const image::Digest& subject) const {
    for (const image::Descriptor& referrer : tree::referrers_of(tree_.store(), subject))
      tree_.drop_manifest(referrer.digest);
    tree::retire_referrers(tree_.store(), subject);
  }

  void make_list_again(Number subject) {
    const image::Digest& digest = digest_of(subject);
    for (const image::Descriptor& referrer : tree::referrers_of(tree_.store(), digest))
      if (!tree_.manifest(referrer.digest)) tree_.store().remove(tree::ObjectName::referrer(digest, referrer.digest));
    std::vector<image::Descriptor> referrers;
    if (const auto found = referrers_.find(subject); found != referrers_.end())
      for (const image::Digest& referrer : found->second)
        if (const auto stored = tree_.manifest(referrer))
          referrers.push_back(image::referrer_descriptor(stored->bytes, referrer));
    tree::publish_referrers(tree_, digest, referrers);
  }

  void check_signatures(const Tag& tag) {
    if (!tag.manifest || reference::is_digest_tag(tag.tag)) return;
    std::vector<Number> signed_manifests = inventory_.manifests[*tag.manifest].members;
    signed_manifests.push_back(*tag.manifest);
    for (const Number manifest : signed_manifests)
      if (const std::string lacking = lacking_signature(tag.repository, digest_of(manifest)); !lacking.empty())
        return findings_.problem(
            "signature", name_of(tag),
            fmt::format("{} of {}: it is signed again when this is pulled", lacking, digest_of(manifest).str()),
            [&] { drop(tree_, tag); });
  }

  std::string lacking_signature(const std::string& repository, const image::Digest& manifest) const {
    const auto tagged = tree_.digest_of_tag(repository, attestations::signature_tag(manifest));
    if (!tagged || !tree_.manifest(*tagged)) return "there is no signature by tag";
    const auto referrers = tree::referrers_of(tree_.store(), manifest);
    const bool is_there = std::any_of(referrers.begin(), referrers.end(), [](const image::Descriptor& referrer) {
      return referrer.artifact_type == attestations::signature_artifact_type;
    });
    return is_there ? "" : "there is no signature among the referrers";
  }

  Findings& findings_;
  const tree::Tree& tree_;
  Inventory inventory_;
  std::vector<bool> published_;                             // by number of a manifest
  std::map<Number, std::vector<image::Digest>> referrers_;  // by subject
};

}  // namespace

void let_attach_again(Findings& findings, const tree::Tree& tree) {
  if (!findings.repairs()) return;
  Inventory inventory = list_files(tree.store());
  read_links(tree.store(), inventory, Unreadable::skip);
  std::vector<bool> lacking(inventory.manifests.size());
  bool any = false;
  const auto add = [&](const std::optional<image::Digest>& subject) {
    if (const auto number = subject ? inventory.manifest(*subject) : std::nullopt) any = lacking[*number] = true;
  };
  for (const image::Digest& subject : subjects(tree.store())) {
    const auto referrers = tree::referrers_of(tree.store(), subject);
    if (std::any_of(referrers.begin(), referrers.end(),
                    [&](const image::Descriptor& referrer) { return !tree.manifest(referrer.digest); }))
      add(subject);
  }
  for (const Tag& tag : inventory.tags)
    if (!tag.manifest) add(tree::subject_of_digest_tag(tag.tag));
  if (!any) return;
  tree.store().list(tree::Kind::image, "", [&](const tree::ObjectName& name, const tree::ObjectInfo&) {
    const auto digest = tree::read_image_record(tree.store(), name.key());
    const auto number = digest ? inventory.manifest(*digest) : std::nullopt;
    if (number && lacking[*number])
      findings.harmless("index", tree.store().location(name), "what was attached to its image is gone",
                        [&] { tree.store().remove(name); });
    return true;
  });
  const auto lacks = [&](Number number) {
    const auto& members = inventory.manifests[number].members;
    return lacking[number] || std::any_of(members.begin(), members.end(), [&](Number each) { return lacking[each]; });
  };
  for (const Tag& tag : inventory.tags)
    if (tag.manifest && lacks(*tag.manifest))
      findings.problem("tag", name_of(tag),
                       "what was attached to its image is gone: it is attached again when this is pulled",
                       [&] { drop(tree, tag); });
}

void verify_attached(Findings& findings, const tree::Tree& tree) {
  Attached(findings, tree).check();
}

}  // namespace nixery::maintenance
