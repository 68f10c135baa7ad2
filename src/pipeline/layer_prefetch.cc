#include "pipeline/layer_prefetch.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include "cause.h"
#include "error.h"
#include "log.h"
#include "pipeline/resolved_image.h"

namespace nixery::pipeline {

namespace {

constexpr std::chrono::seconds first_look{1}, last_look{8};  // between checks of the store, doubling
constexpr std::uint64_t batch_bytes = 64u << 20;             // of NAR, written between two checks for a stop request

// If something must be built, fetched paths may be needed only for that. Otherwise they are the image's contents.
std::vector<store::StorePath> certain_paths(const std::vector<const nix::Package*>& packages,
                                            const nix::Missing& missing) {
  auto certain = output_paths(packages);
  if (missing.to_build.empty())
    for (const std::string& text : missing.to_fetch)
      if (auto path = store::StorePath::parse(text)) certain.push_back(*std::move(path));
  std::sort(certain.begin(), certain.end());
  certain.erase(std::unique(certain.begin(), certain.end()), certain.end());
  return certain;
}

}  // namespace

LayerPrefetch::LayerPrefetch(std::vector<const nix::Package*> packages, layer::Encoding encoding,
                             const plan::Settings& plan, layer::Writer& writer, const std::stop_token& build_stop)
    : packages_(std::move(packages)), encoding_(encoding), plan_(plan), writer_(writer), build_stop_(build_stop) {
  const auto outputs = output_paths(packages_);
  // A look at the file system is cheap; realising finds out whether an existing path is valid.
  struct stat info;
  if (std::all_of(outputs.begin(), outputs.end(),
                  [&](const auto& path) { return lstat(path.str().c_str(), &info) == 0; }))
    return;
  thread_ = std::jthread([this, cause = current_cause()](const std::stop_token& stop) {
    const CauseScope scope(cause);
    try {
      run(stop);
    } catch (const std::exception& error) {
      // The image is layered anyway when all paths exist; errors are reported then.
      log::info("layer prefetch ended", {{"error", error.what()}});
    }
  });
}

void LayerPrefetch::run(const std::stop_token& stop) {
  auto pending = certain_paths(packages_, nix::missing_for(packages_, stop));
  std::vector<store::StorePath> valid;
  for (auto pause = first_look; !pending.empty() && !stop.stop_requested(); pause = std::min(2 * pause, last_look)) {
    const auto found = nix::valid_of(pending, stop);
    if (!found.empty()) {
      std::erase_if(pending, [&](const auto& path) { return std::binary_search(found.begin(), found.end(), path); });
      valid.insert(valid.end(), found.begin(), found.end());
      write_layers(valid, stop);
    }
    std::unique_lock lock(mutex_);
    stopped_.wait_for(lock, stop, pause, [&] { return stop.stop_requested(); });
  }
}

void LayerPrefetch::write_layers(const std::vector<store::StorePath>& valid, const std::stop_token& stop) {
  const store::Closure closure = nix::closure_of(valid, stop);
  std::vector<layer::Contents> batch;
  std::uint64_t bytes = 0;
  const auto write = [&] {
    if (!batch.empty()) writer_.write(batch, encoding_, {}, build_stop_);
    batch.clear();
    bytes = 0;
  };
  for (const plan::Layer& layer : plan::plan_layers(closure, plan_)) {
    if (stop.stop_requested()) return;
    layer::Contents contents{{}, paths_of(layer, closure)};
    if (!layer.intrinsic || !written_.insert(layer::layer_key(encoding_, contents)).second) continue;
    batch.push_back(std::move(contents));
    bytes += layer.nar_size;
    if (bytes >= batch_bytes) write();
  }
  if (!stop.stop_requested()) write();
}

}  // namespace nixery::pipeline
