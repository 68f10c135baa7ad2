#include "pipeline/tagged_build.h"

#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "log.h"
#include "os/lock.h"
#include "pipeline/attach.h"
#include "pipeline/build_log.h"
#include "pipeline/platform_index.h"
#include "tree/tree_lock.h"

namespace nixery::pipeline {

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

void publish_tag(const ImagePipeline& pipeline, const tree::Tree& tree, const reference::Reference& reference,
                 const image::Digest& manifest, std::string_view revision, bool moving) {
  if (tree.digest_of_tag(reference.repository, reference.tag) == manifest && tag_matches(pipeline, tree, reference))
    return;
  const tree::SharedTreeLock hold(tree.layout());
  if (!tree.touch_manifest(manifest))
    throw Error(Failure::unavailable,
                fmt::format("the image {} was removed before it got its tag: try again", manifest.str()));
  const PipelineSettings& settings = pipeline.settings();
  if (settings.signing_key)
    attach_signatures(tree, *settings.signing_key, settings.signing_identity, reference.repository, manifest);
  // The record comes first: a moving tag without one would never be refreshed.
  tree::write_record(tree.layout(), {reference.repository, reference.tag, std::string(revision), moving, manifest.str(),
                                     reference.source_tag(), reference.declaration_hash(), pipeline.settings_key()});
  tree.publish_tag(reference.repository, reference.tag, manifest);
}

namespace {

bool is_of_these_settings(const ImagePipeline& pipeline, const tree::TagRecord& record) {
  return record.settings.empty() || record.settings == pipeline.settings_key();
}

// Why the tag is to be dropped; empty if it is not.
std::string_view reason_to_drop(const ImagePipeline& pipeline, const Declarations& declarations,
                                const tree::TagRecord& record) {
  // Signatures and the like hang on a manifest, whatever its name stands for.
  if (reference::is_digest_tag(record.tag)) return {};
  constexpr std::string_view changed = "its declaration changed";
  if (const auto declared = declarations.find(record.repository, record.tag)) {
    if (declared->hash != record.declaration) return changed;
  } else if (record.declaration.empty()) {
    if (!declarations.tags(record.repository).empty()) return changed;
  } else if (declarations.complete()) {  // else it may be in a file that cannot be read now
    return changed;
  }
  return is_of_these_settings(pipeline, record) ? "" : "it was built under other settings";
}

}  // namespace

bool tag_matches(const ImagePipeline& pipeline, const tree::Tree& tree, const reference::Reference& reference) {
  const auto record = tree::read_record(tree.layout(), reference.repository, reference.tag);
  if (!record) return reference.declaration_hash().empty();
  return record->declaration == reference.declaration_hash() && is_of_these_settings(pipeline, *record);
}

bool drop_if_outdated(const ImagePipeline& pipeline, const tree::Tree& tree, const Declarations& declarations,
                      const tree::TagRecord& record) {
  const auto reason = reason_to_drop(pipeline, declarations, record);
  if (reason.empty()) return false;
  tree.drop_tag(record.repository, record.tag);
  tree::remove_record(tree.layout(), record);
  log::info("tag dropped", {{"repository", record.repository}, {"tag", record.tag}, {"reason", std::string(reason)}});
  return true;
}

std::size_t drop_outdated_tags(const ImagePipeline& pipeline, const tree::Tree& tree,
                               const Declarations& declarations) {
  std::vector<tree::TagRecord> records;
  tree::for_each_record(tree.layout(), [&](const tree::TagRecord& record) { records.push_back(record); });
  return static_cast<std::size_t>(std::count_if(records.begin(), records.end(), [&](const tree::TagRecord& record) {
    return drop_if_outdated(pipeline, tree, declarations, record);
  }));
}

BuiltImage build_with_tag(const ImagePipeline& pipeline, const tree::Tree& tree, const reference::Reference& reference,
                          Progress& progress, const std::stop_token& stop, ExistingTag existing) {
  const std::string key = build_key(reference);
  const os::Lock lock(tree.layout().lock(key), stop);
  if (existing == ExistingTag::is_good_enough)
    if (const auto digest = tree.digest_of_tag(reference.repository, reference.tag); digest && tree.manifest(*digest))
      if (const auto record = tree::read_record(tree.layout(), reference.repository, reference.tag);
          record && tag_matches(pipeline, tree, reference))
        return {*digest, {record->revision, {}, record->moving}, {}, true};

  const BuildLog log(tree.layout().log(key));
  try {
    nix::PinnedSource source = pipeline.pin(reference, progress, stop);
    BuiltImage built = pipeline.makes_index(reference)
                           ? build_index(pipeline, tree, reference, source, progress, log, stop)
                           : pipeline.build(reference, std::move(source), progress, log.attend(progress, stop));
    for (const std::string& warning : built.warnings) log.line("warning: " + warning);
    publish_tag(pipeline, tree, reference, built.manifest, built.revision.id, built.revision.moving);
    return built;
  } catch (const Error& error) {
    log.line(fmt::format("{}: {}", name_of(error.failure()), error.what()));
    throw;
  }
}

}  // namespace nixery::pipeline
