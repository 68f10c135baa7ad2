// One build under its lock, with its record and its tag: what a job does, and what `nixery build` does.
#pragma once

#include <stop_token>
#include <string>

#include "pipeline/declared_set.h"
#include "pipeline/image_pipeline.h"
#include "tree/records.h"

namespace nixery::pipeline {

namespace fs = std::filesystem;

// The key under which two references are one build: same packages, platform, encoding and tag, however spelt. 64 hex.
std::string build_key(const reference::Reference& reference);

enum class ExistingTag { is_good_enough, is_replaced };

// Builds and publishes `reference`, its tag last. Other processes that build the same wait for each other.
BuiltImage build_with_tag(const ImagePipeline& pipeline, const tree::Tree& tree, const reference::Reference& reference,
                          Progress& progress, const std::stop_token& stop, ExistingTag existing);

// Publishes the tag of an image, after its signature and the record by which a moving one is found again. Idempotent.
void publish_tag(const ImagePipeline& pipeline, const tree::Tree& tree, const reference::Reference& reference,
                 const image::Digest& manifest, std::string_view revision, bool moving);

// Whether the tag is of what the reference declares now, and of the pipeline's settings: an earlier worker may have
// built it from something else.
bool tag_matches(const ImagePipeline& pipeline, const tree::Tree& tree, const reference::Reference& reference);

// Drops the tags of images whose declaration has changed or gone, those of packages under a name that is declared now,
// and those built under other settings. How many. To be called at start, when declarations have changed, and after
// publish_tag(), as they may have meanwhile.
std::size_t drop_outdated_tags(const ImagePipeline& pipeline, const tree::Tree& tree, const Declarations& declarations);
bool drop_if_outdated(const ImagePipeline& pipeline, const tree::Tree& tree, const Declarations& declarations,
                      const tree::TagRecord& record);

}  // namespace nixery::pipeline
