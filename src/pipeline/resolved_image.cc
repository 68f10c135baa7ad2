#include "pipeline/resolved_image.h"

#include <algorithm>

#include "layer/root_additions.h"

namespace nixery::pipeline {

std::vector<const nix::Package*> ResolvedImage::contents() const {
  std::vector<const nix::Package*> packages;
  for (const nix::Package& package : resolution.packages) packages.push_back(&package);
  if (resolution.cacert) packages.push_back(&*resolution.cacert);
  return packages;
}

std::vector<store::StorePath> output_paths(const std::vector<const nix::Package*>& packages) {
  std::vector<store::StorePath> paths;
  for (const nix::Package* package : packages)
    for (const nix::Output& output : package->outputs) paths.push_back(output.path);
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  return paths;
}

std::vector<const store::PathInfo*> paths_of(const plan::Layer& layer, const store::Closure& closure) {
  std::vector<const store::PathInfo*> paths;
  for (const auto index : layer.paths) paths.push_back(&closure.paths[index]);
  return paths;
}

layer::Rootfs root_of(const ResolvedImage& image, const store::Closure& closure, const std::stop_token& stop) {
  std::vector<layer::PackageOutput> outputs;
  for (const nix::Package& package : image.resolution.packages)
    for (const nix::Output& output : package.outputs) outputs.push_back({output.path, package.priority});
  std::optional<store::StorePath> certificates;
  if (const auto& cacert = image.resolution.cacert; cacert && !cacert->outputs.empty())
    certificates = cacert->outputs.front().path;
  layer::Rootfs root = layer::plan_rootfs(outputs, certificates, closure, "/", stop);
  if (const auto& declared = image.reference.declared; declared && !declared->config.additions.empty()) {
    layer::ClosureReader reader("/", closure, stop);
    layer::add_to(root, declared->config.additions, reader);
  }
  return root;
}

}  // namespace nixery::pipeline
