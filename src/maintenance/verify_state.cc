#include "maintenance/verify_state.h"

#include "image/parse.h"
#include "layer/index.h"
#include "maintenance/verify_manifests.h"
#include "tree/originals.h"
#include "tree/record_checksum.h"
#include "tree/records.h"

namespace nixery::maintenance {

namespace {

using layer::RecordState;
using tree::Kind;
using tree::ObjectName;

class State {
 public:
  State(Findings& findings, const tree::Tree& tree) : findings_(findings), tree_(tree) {}

  void check() {
    for_each(Kind::image, [&](const ObjectName& name) { check_image(name); });
    for_each(Kind::group,
             [&](const ObjectName& name) { report(name, layer::state_of_layer_record(tree_.store(), name.key())); });
    for_each(Kind::segment,
             [&](const ObjectName& name) { report(name, layer::state_of_segment_record(tree_.store(), name.key())); });
    for_each(Kind::recipe, [&](const ObjectName& name) { check_recipe(name); });
    for_each(Kind::original, [&](const ObjectName& name) {
      const auto digest = name.digest();
      if (digest && !tree::read_original(tree_.store(), *digest)) report(name, RecordState::damaged);
    });
    if (!findings_.repairs()) return;
    if (const std::size_t added = layer::rebuild_index(tree_.store()); added > 0)
      findings_.harmless("index", tree_.store().location({Kind::group, ""}),
                         fmt::format("it lacked {} of the layers that are there and have recipes", added), [] {});
    keep_originals();
  }

 private:
  template <typename Visit>
  void for_each(Kind kind, const Visit& visit) {
    tree_.store().list(kind, "", [&](const ObjectName& name, const tree::ObjectInfo&) {
      findings_.count(&Verification::index_entries, std::size_t{1});
      visit(name);
      return true;
    });
  }

  // A torn or stale record is what a power cut or a collection leaves. A damaged one is the disk's or somebody's doing.
  void report(const ObjectName& name, RecordState state) {
    const std::string file = tree_.store().location(name);
    const auto fix = [&] { tree_.store().remove(name); };
    switch (state) {
      case RecordState::sound: return;
      case RecordState::stale: return findings_.harmless("index", file, "it leads to what is not there", fix);
      case RecordState::torn: return findings_.harmless("index", file, "it cannot be read", fix);
      case RecordState::damaged: return findings_.problem("index", file, "it is damaged", fix);
    }
  }

  void check_image(const ObjectName& name) {
    const auto manifest = tree::read_image_record(tree_.store(), name.key());
    if (manifest) return report(name, tree_.manifest(*manifest) ? RecordState::sound : RecordState::stale);
    const auto text = tree::read_if_readable(tree_.store(), name);
    report(name, text && text->ends_with(tree::record_line_end) ? RecordState::damaged : RecordState::torn);
  }

  void check_recipe(const ObjectName& name) {
    const auto digest = name.digest();
    if (!digest || layer::read_recipe(tree_.store(), *digest)) return;
    const auto text = tree::read_if_readable(tree_.store(), name);
    if (text) report(name, text->ends_with("}\n") ? RecordState::damaged : RecordState::torn);
  }

  // Of configs and documents that versions before this one published.
  void keep_originals() {
    for_each_manifest(tree_, [&](const image::ParsedManifest& manifest) {
      if (manifest.config) keep_original(manifest.config->digest);
      for (const auto& layer : manifest.layers)
        if (!image::is_compressed_layer(layer.media_type)) keep_original(layer.digest);
    });
  }

  void keep_original(const image::Digest& blob) {
    if (tree::read_original(tree_.store(), blob)) return;
    const auto bytes = tree::read_if_readable(tree_.store(), ObjectName::blob(blob));
    if (bytes && image::Digest::of(*bytes) == blob) tree::keep_original(tree_.store(), blob, *bytes);
  }

  Findings& findings_;
  const tree::Tree& tree_;
};

}  // namespace

void verify_state(Findings& findings, const tree::Tree& tree) {
  State(findings, tree).check();
}

}  // namespace nixery::maintenance
