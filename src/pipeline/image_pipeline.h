// From a reference to a published image: pin → resolve → realise → plan → layer → publish → attest → tag.
// image_pipeline.cc has the steps in this order.
//
// Thread-safe: builds share only the tree, the source and the layer writer, which are thread-safe. Everything that
// takes a stop_token throws Error{unavailable} once stop is requested.
#pragma once

#include <optional>
#include <semaphore>
#include <stop_token>
#include <string>
#include <vector>

#include "error.h"
#include "layer/writer.h"
#include "metrics/metrics.h"
#include "nix/nix.h"
#include "pipeline/build_log.h"
#include "pipeline/progress.h"
#include "pipeline/published_tags.h"
#include "pipeline/resolved_image.h"
#include "pipeline/settings.h"
#include "tree/tree.h"

namespace nixery::pipeline {

// Prefix of a platform's name in the annotation with the reason why an index lacks it: "io.nixery.left-out.arm64".
inline constexpr std::string_view left_out_annotation = "io.nixery.left-out.";

enum class ExistingTag { is_good_enough, is_replaced };

class ImagePipeline {
 public:
  // All but `settings` must outlive this.
  ImagePipeline(PipelineSettings settings, const tree::Tree& tree, nix::Source& source, layer::Writer& writer,
                metrics::Metrics& metrics);

  // Builds and publishes the reference, its tag last, and keeps the build's log. Other processes wait for the same
  // build. A name without a platform becomes an index if the settings have several; platforms that cannot be built are
  // left out.
  BuiltImage run(const reference::Reference& reference, Progress& progress, const std::stop_token& stop,
                 ExistingTag existing) const;

  // The steps that plans use, too.
  nix::PinnedSource pin(const reference::Reference& reference, Progress& progress, const std::stop_token& stop) const;
  // For the reference's platform, or the first of the settings.
  ResolvedImage resolve(const reference::Reference& reference, nix::PinnedSource source, Progress& progress,
                        const nix::ProcessObserver& observer) const;
  // The outputs must be valid store paths.
  LayeredClosure plan(const ResolvedImage& image, const std::stop_token& stop) const;

  const PipelineSettings& settings() const { return settings_; }
  const PublishedTags& tags() const { return tags_; }
  metrics::Metrics& metrics() const { return metrics_; }

 private:
  // What is ready to be published.
  struct PreparedImage {
    ResolvedImage image;
    std::optional<image::Digest> known = {};  // in the tree already, under any name: the rest is empty
    // Until the image refers to them, a collection must not remove Nix's roots (maintenance/orphans.h).
    tree::LockHandle roots = {};
    LayeredClosure layered = {};
    layer::Rootfs root = {};
    std::vector<layer::LayerBlob> layers = {};
  };
  struct PreparedMember {
    reference::Platform platform;
    std::optional<PreparedImage> image;
    std::optional<Error> error;  // set if `image` is not
  };
  struct Published {
    image::Digest manifest;
    std::uint64_t size;  // bytes
  };
  // Everything that leads to the tag is published under one SharedTreeLock, as a collection without a grace period
  // would remove it in between. nullopt: a collection has removed what was prepared.
  std::optional<BuiltImage> build(const reference::Reference& reference, const nix::PinnedSource& source,
                                  Progress& progress, const nix::ProcessObserver& observer) const;
  std::optional<BuiltImage> build_index(const reference::Reference& reference, const nix::PinnedSource& source,
                                        Progress& progress, const BuildLog& log, const std::stop_token& stop) const;
  std::vector<PreparedMember> prepare_members(const reference::Reference& reference, const nix::PinnedSource& source,
                                              Progress& progress, const BuildLog& log,
                                              const std::stop_token& stop) const;
  PreparedImage prepare(const reference::Reference& reference, nix::PinnedSource source, Progress& progress,
                        const nix::ProcessObserver& observer) const;
  void realise(const ResolvedImage& image, Progress& progress, const nix::ProcessObserver& observer) const;
  std::vector<layer::LayerBlob> layer(const PreparedImage& prepared, Progress& progress,
                                      const std::stop_token& stop) const;
  std::optional<BuiltImage> publish(const PreparedImage& prepared) const;
  Published publish_manifest(const PreparedImage& prepared) const;
  void attest(const PreparedImage& prepared, const Published& published) const;
  plan::Settings plan_settings() const;

  const PipelineSettings settings_;
  const tree::Tree& tree_;
  nix::Source& source_;
  layer::Writer& writer_;
  metrics::Metrics& metrics_;
  const std::string popularity_key_;
  const PublishedTags tags_;
  mutable std::counting_semaphore<> evaluations_;
};

}  // namespace nixery::pipeline
