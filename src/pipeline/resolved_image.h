// The values that pass between the steps of a pipeline.
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

// Which store paths go into which layer.
struct LayeredClosure {
  store::Closure closure;
  std::vector<plan::Layer> layers;
  // The layer that also holds the root file system, if no further layer is allowed; else the root file system has a
  // layer of its own, after the others.
  std::optional<std::size_t> with_root;
};

// An image, once it is in the tree.
struct BuiltImage {
  image::Digest manifest;
  nix::Revision revision;
  std::vector<std::string> warnings;  // such as files that two packages have
  bool found = false;                 // it was in the tree, under this name or another
};

// Output paths of the packages, ascending, each once.
std::vector<store::StorePath> output_paths(const std::vector<const nix::Package*>& packages);

std::vector<const store::PathInfo*> paths_of(const plan::Layer& layer, const store::Closure& closure);

// The image's root file system. All of the closure must be in the store.
layer::Rootfs root_of(const ResolvedImage& image, const store::Closure& closure, const std::stop_token& stop);

}  // namespace nixery::pipeline
