// Layers paths that are in the store already while Nix builds or fetches the rest of an image.
//
// Plans the valid store paths that are certain to be in the image, and writes the groups that nearly every closure with
// these paths has (plan::Layer::intrinsic). Left-over paths wait for the whole closure. This does not change the image:
// existing layers are found, missing ones are written.
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
  // Starts a thread if any output of `packages` is missing. `packages`, `plan` and `writer` must outlive this.
  LayerPrefetch(std::vector<const nix::Package*> packages, layer::Encoding encoding, const plan::Settings& plan,
                layer::Writer& writer, const std::stop_token& stop);
  // The destructor waits for the layers being written, about 64 MiB or one larger layer, unless `stop` is requested.

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
