#include "build/tagged_build.h"

#include <fmt/format.h>

#include <algorithm>

#include "build/attach.h"
#include "build/build_log.h"
#include "build/platform_index.h"
#include "error.h"
#include "log.h"
#include "os/lock.h"

namespace nixery::build {

std::string build_key(const reference::Reference& reference) {
  image::KeyBuilder key("build");
  key.add(reference.tag)
      .add(reference.platform ? reference.platform->nix_system : "")
      .add(reference.encoding.value_or(""))
      .add(reference.has_shell ? "shell" : "")
      .add(reference.declaration_hash());
  for (const auto& package : reference.packages) key.add(package.text);
  return key.finish();
}

void publish_tag(const RoadSettings& settings, const tree::Tree& tree, const reference::Reference& reference,
                 const image::Digest& manifest, std::string_view revision, bool moving) {
  if (tree.digest_of_tag(reference.repository, reference.tag) == manifest && tag_matches(tree, reference)) return;
  if (settings.signing_key)
    attach_signatures(tree, *settings.signing_key, settings.signing_identity, reference.repository, manifest);
  // The record comes first: a moving tag without one would never be refreshed.
  tree::write_record(tree.layout(), {reference.repository, reference.tag, std::string(revision), moving, manifest.str(),
                                     reference.source_tag(), reference.declaration_hash()});
  tree.publish_tag(reference.repository, reference.tag, manifest);
}

bool tag_matches(const tree::Tree& tree, const reference::Reference& reference) {
  const auto record = tree::read_record(tree.layout(), reference.repository, reference.tag);
  return (record ? record->declaration : std::string()) == reference.declaration_hash();
}

bool drop_if_outdated(const tree::Tree& tree, const Declarations& declarations, const tree::TagRecord& record) {
  // Signatures and the like hang on a manifest, whatever its name stands for.
  if (reference::is_digest_tag(record.tag)) return false;
  if (const auto declared = declarations.find(record.repository, record.tag)) {
    if (declared->hash == record.declaration) return false;
  } else if (record.declaration.empty()) {
    if (declarations.tags(record.repository).empty()) return false;
  } else if (!declarations.complete()) {
    return false;  // its declaration may be in a file that cannot be read now
  }
  tree.drop_tag(record.repository, record.tag);
  tree::remove_record(tree.layout(), record);
  log::info("tag dropped",
            {{"repository", record.repository}, {"tag", record.tag}, {"reason", "its declaration changed"}});
  return true;
}

std::size_t drop_outdated_tags(const tree::Tree& tree, const Declarations& declarations) {
  std::vector<tree::TagRecord> records;
  tree::for_each_record(tree.layout(), [&](const tree::TagRecord& record) { records.push_back(record); });
  return static_cast<std::size_t>(std::count_if(records.begin(), records.end(), [&](const tree::TagRecord& record) {
    return drop_if_outdated(tree, declarations, record);
  }));
}

BuiltImage build_with_tag(const Road& road, const tree::Tree& tree, const reference::Reference& reference,
                          Progress& progress, const std::atomic<bool>* stop, ExistingTag existing) {
  const std::string key = build_key(reference);
  const os::Lock lock(tree.layout().lock(key));
  if (existing == ExistingTag::is_good_enough)
    if (const auto digest = tree.digest_of_tag(reference.repository, reference.tag); digest && tree.manifest(*digest))
      if (const auto record = tree::read_record(tree.layout(), reference.repository, reference.tag);
          record && record->declaration == reference.declaration_hash())
        return {*digest, {record->revision, {}, record->moving}, {}};

  const BuildLog log(tree.layout().log(key));
  try {
    nix::PinnedSource source = road.pin(reference, progress);
    BuiltImage built = road.makes_index(reference)
                           ? build_index(road, tree, reference, source, progress, log, stop)
                           : road.build(reference, std::move(source), progress, log.attend(progress, stop));
    for (const std::string& warning : built.warnings) log.line("warning: " + warning);
    publish_tag(road.settings(), tree, reference, built.manifest, built.revision.id, built.revision.moving);
    return built;
  } catch (const Error& error) {
    log.line(fmt::format("{}: {}", name_of(error.failure()), error.what()));
    throw;
  }
}

}  // namespace nixery::build
