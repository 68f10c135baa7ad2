// The pipeline from a reference to a published image, step by step. Read pipeline.cc from top to bottom to have read
// the system.
//
// Thread-safe: nothing here is shared between two builds but the tree, the source and the layer writer, which are.
#pragma once

#include <memory>
#include <semaphore>
#include <stop_token>
#include <string>
#include <vector>

#include "attestations/signing_key.h"
#include "image/manifest.h"
#include "layer/encoding.h"
#include "layer/rootfs.h"
#include "layer/writer.h"
#include "metrics/metrics.h"
#include "nix/nix.h"
#include "pipeline/progress.h"
#include "plan/plan.h"
#include "reference/reference.h"
#include "tree/tree.h"

namespace nixery::pipeline {

namespace fs = std::filesystem;

struct PipelineSettings {
  nix::NixSettings nix;
  std::vector<reference::Platform> platforms;  // of names that do not say one: of several, an index is made
  image::Format format = image::Format::oci;
  layer::Encoding encoding;
  unsigned max_layers = 100;  // of an image, the root file system's among them
  unsigned evaluations = 2;   // at the same time; builds beyond wait for their turn
  plan::Settings plan;        // its max_layers follows from ours
  bool documents = true;      // attach SBOMs and provenance
  std::string builder_id;     // what provenance calls us; may be empty
  std::optional<attestations::SigningKey> signing_key;
  std::string signing_identity;  // what stands before an image's name in its signature; may be empty
};

// A reference that has become packages of one revision.
struct ResolvedImage {
  reference::Reference reference;
  reference::Platform platform;
  layer::Encoding encoding;
  nix::PinnedSource source;
  nix::Resolution resolution;
  std::string key;  // 64 hex: what determines the image's every byte

  // The packages and, where the set has it, cacert.
  std::vector<const nix::Package*> contents() const;
};

// Which store paths go into which layer.
struct LayeredClosure {
  store::Closure closure;
  std::vector<plan::Layer> layers;
  // The layer that holds the root file system, too: the last of those left over, where all layers are taken. Else that
  // has one of its own, after the others.
  std::optional<std::size_t> with_root;
};

std::vector<const store::PathInfo*> paths_of(const plan::Layer& layer, const store::Closure& closure);

// All of the closure must be in the store.
layer::Rootfs root_of(const ResolvedImage& image, const store::Closure& closure);

// What is built, once it is in the tree.
struct BuiltImage {
  image::Digest manifest;
  nix::Revision revision;
  std::vector<std::string> warnings;  // such as files that two packages bring
  bool found = false;                 // it was there, under this name or another
};

class ImagePipeline {
 public:
  ImagePipeline(PipelineSettings settings, const tree::Tree& tree, nix::Source& source, layer::Writer& writer,
                metrics::Metrics& metrics);

  // What the reference's tag stands for, brought to disk.
  nix::PinnedSource pin(const reference::Reference& reference, Progress& progress, const std::stop_token& stop) const;

  // Of one platform: the reference's own, else the first of the settings.
  ResolvedImage resolve(const reference::Reference& reference, nix::PinnedSource source, Progress& progress,
                        const nix::ProcessObserver& nix) const;
  // The outputs must be valid store paths.
  LayeredClosure plan(const ResolvedImage& image, const std::stop_token& stop) const;
  // Resolves, realises, layers and publishes blobs and manifest. No tag: that is the caller's last step.
  BuiltImage build(const reference::Reference& reference, nix::PinnedSource source, Progress& progress,
                   const nix::ProcessObserver& nix) const;

  // Whether the reference stands for an index of the settings' platforms.
  bool makes_index(const reference::Reference& reference) const {
    return !reference.platform && settings_.platforms.size() > 1;
  }

  const PipelineSettings& settings() const { return settings_; }
  metrics::Metrics& metrics() const { return metrics_; }
  // 64 hex, of those settings on which it depends what a tag stands for and whether it is served: tags made under
  // others stand for other images, or for what nobody may have now.
  const std::string& settings_key() const { return settings_key_; }

 private:
  plan::Settings plan_settings() const;
  std::string image_key(const ResolvedImage& image) const;
  BuiltImage layer_and_publish(const ResolvedImage& image, Progress& progress, const std::stop_token& stop) const;

  const PipelineSettings settings_;
  const tree::Tree& tree_;
  nix::Source& source_;
  layer::Writer& writer_;
  metrics::Metrics& metrics_;
  std::string popularity_key_;  // of what settings_ holds: large, and always the same
  std::string settings_key_;
  mutable std::counting_semaphore<> evaluations_;
};

}  // namespace nixery::pipeline
