// Driver of tests/bench/layers: makes layers of all store paths below ROOT/nix/store and prints one line for each run:
// "<seconds> <CPU seconds> <tar bytes> <blob bytes> <peak RSS, KiB> <digest of all layers' digests>".
//
//   layers_bench ROOT STATE_DIR ENCODING THREADS LAYERS [LAYERS…]
//
// Each LAYERS is one run in the same tree: the first is cold, another number of layers regroups known segments.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "error.h"
#include "layer/nar.h"
#include "layer/writer.h"
#include "tree/directory_store.h"

namespace {

namespace fs = std::filesystem;
using namespace nixery;

std::vector<store::PathInfo> paths_below(const fs::path& root) {
  std::vector<store::PathInfo> paths;
  for (const auto& entry : fs::directory_iterator(root / "nix/store")) {
    const auto path = store::StorePath::parse("/nix/store/" + entry.path().filename().string());
    if (!path || path->str().ends_with(".drv")) continue;
    const layer::Nar nar = layer::nar_of(root, *path);
    paths.push_back({*path, nar.hash, nar.size, {}});
  }
  std::sort(paths.begin(), paths.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return paths;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int run(int count, char** arguments) {
  if (count < 6) throw Error(Failure::bad_config, "usage: layers_bench ROOT STATE_DIR ENCODING THREADS LAYERS…");
  const fs::path root = arguments[1], state = arguments[2];
  const auto encoding = layer::Encoding::parse(arguments[3]);
  if (!encoding) throw Error(Failure::bad_config, fmt::format("no such encoding: {}", arguments[3]));
  const std::vector<store::PathInfo> paths = paths_below(root);
  const tree::DirectoryStore store(state / "tree", state / "state");
  layer::Writer writer(store, {static_cast<unsigned>(std::atoi(arguments[4])), root});

  for (int i = 5; i < count; ++i) {
    std::vector<layer::Contents> layers(
        std::clamp<std::size_t>(std::strtoul(arguments[i], nullptr, 10), 1, paths.size()));
    for (std::size_t k = 0; k < paths.size(); ++k) layers[k % layers.size()].paths.push_back(&paths[k]);
    const auto start = std::chrono::steady_clock::now();
    const double cpu_start = cpu_seconds();
    const layer::Written written = writer.write(layers, *encoding);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double cpu = cpu_seconds() - cpu_start;
    std::uint64_t tar_size = 0, size = 0;
    std::string digests;
    for (const layer::LayerBlob& blob : written.layers) {
      tar_size += blob.tar_size;
      size += blob.size;
      digests += blob.digest.hex();
    }
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    fmt::print("{:.3f} {:.3f} {} {} {} {}\n", seconds, cpu, tar_size, size, usage.ru_maxrss,
               image::Digest::of(digests).hex());
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run(count, arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "layers_bench: {}\n", error.what());
    return 1;
  }
}
