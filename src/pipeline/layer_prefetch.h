// Layers what is in the store already while nix still builds or fetches the rest of an image.
//
// Of the store paths that are certain to be in the image, those that are valid are planned, and the groups that every
// closure with these paths has, as good as always (plan::Layer::intrinsic), are written. What would be left over waits
// for the whole closure.
// Whether any of this happens changes no byte of the image: a layer that is there is found, one that is not is written.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "layer/encoding.h"
#include "layer/writer.h"
#include "nix/nix.h"
#include "plan/plan.h"

namespace nixery::pipeline {

class LayerPrefetch {
 public:
  // Starts a thread if any output of `packages` is not there yet. `packages`, `plan` and `writer` must outlive this.
  LayerPrefetch(std::vector<const nix::Package*> packages, layer::Encoding encoding, const plan::Settings& plan,
                layer::Writer& writer, const std::stop_token& stop);
  // Its destructor waits for the layers that are being written, some 64 MiB or one larger layer, unless `stop` is
  // requested.

 private:
  void run(const std::stop_token& stop);
  void write_layers(const std::vector<store::StorePath>& valid, const std::stop_token& stop);

  const std::vector<const nix::Package*> packages_;
  const layer::Encoding encoding_;
  const plan::Settings& plan_;
  layer::Writer& writer_;
  std::set<std::string> written_;  // keys of layers
  const std::stop_token build_stop_;
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace nixery::pipeline
