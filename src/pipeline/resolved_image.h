// Values passed between the steps of a pipeline.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "image/digest.h"
#include "layer/encoding.h"
#include "layer/rootfs.h"
#include "nix/nix.h"
#include "nix/source.h"
#include "plan/plan.h"
#include "reference/platform.h"
#include "reference/reference.h"
#include "store/closure.h"

namespace nixery::pipeline {

// A reference for one platform, as packages of one revision.
struct ResolvedImage {
  reference::Reference reference;
  reference::Platform platform;
  layer::Encoding encoding;
  nix::PinnedSource source;
  nix::Resolution resolution;
  std::string key;  // image_key(): 64 hex

  // The packages and, if the set has it, cacert.
  std::vector<const nix::Package*> contents() const;
};

// The assignment of store paths to layers.
struct LayeredClosure {
  store::Closure closure;
  std::vector<plan::Layer> layers;
  // The layer that also holds the root file system, if no further layer is allowed; otherwise that has its own last
  // layer.
  std::optional<std::size_t> with_root;
};

// An image in the tree.
struct BuiltImage {
  image::Digest manifest;
  nix::Revision revision;
  std::vector<std::string> warnings;  // such as conflicting files of two packages
  bool found = false;                 // it existed in the tree, under any name
};

// Output paths of the packages, ascending, without duplicates.
std::vector<store::StorePath> output_paths(const std::vector<const nix::Package*>& packages);

std::vector<const store::PathInfo*> paths_of(const plan::Layer& layer, const store::Closure& closure);

// The image's root file system. All of the closure must be in the store.
layer::Rootfs root_of(const ResolvedImage& image, const store::Closure& closure, const std::stop_token& stop);

}  // namespace nixery::pipeline
