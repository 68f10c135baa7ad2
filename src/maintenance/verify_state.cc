#include "maintenance/verify_state.h"

#include "image/parse.h"
#include "layer/index.h"
#include "os/directory.h"
#include "os/file.h"
#include "tree/originals.h"
#include "tree/record_checksum.h"
#include "tree/records.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;
using layer::RecordState;

class State {
 public:
  State(Findings& findings, const VerifiedTree& tree) : findings_(findings), tree_(tree) {}

  void check() {
    for_each_file(layout().state / "images", [&](const fs::path& file) { check_image(file); });
    for_each_file(layout().state / "groups", [&](const fs::path& file) {
      report(file, layer::state_of_layer_record(tree_.store(), file.filename().string()));
    });
    for_each_shard("segments", [&](const fs::path& file) {
      report(file, layer::state_of_segment_record(tree_.store(), file.filename().string()));
    });
    for_each_file(layout().state / "recipes", [&](const fs::path& file) { check_recipe(file); });
    for_each_shard("originals", [&](const fs::path& file) { check_original(file); });
    if (!findings_.repairs()) return;
    if (const std::size_t added = layer::rebuild_index(tree_.store()); added > 0)
      findings_.harmless("index", (layout().state / "groups").string(),
                         fmt::format("it lacked {} of the layers that are there and have recipes", added), [] {});
    keep_originals();
  }

 private:
  const tree::Layout& layout() const { return tree_.layout(); }

  template <typename Visit>
  void for_each_file(const fs::path& dir, const Visit& visit) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (entry.path().filename().string().starts_with('.')) return;
      findings_.count(&Verification::index_entries, std::size_t{1});
      visit(entry.path());
    });
  }

  template <typename Visit>
  void for_each_shard(const char* top, const Visit& visit) {
    os::for_each_entry(layout().state / top, [&](const auto& shard) { for_each_file(shard.path(), visit); });
  }

  // A torn or stale record is what a power cut or a collection leaves. A damaged one is the disk's or somebody's doing.
  void report(const fs::path& file, RecordState state) {
    const auto fix = [&] { remove_file(file); };
    switch (state) {
      case RecordState::sound: return;
      case RecordState::stale: return findings_.harmless("index", file.string(), "it leads to what is not there", fix);
      case RecordState::torn: return findings_.harmless("index", file.string(), "it cannot be read", fix);
      case RecordState::damaged: return findings_.problem("index", file.string(), "it is damaged", fix);
    }
  }

  void check_image(const fs::path& file) {
    const auto manifest = tree::read_image_record(tree_.store(), file.filename().string());
    if (manifest) return report(file, tree_.manifest(*manifest) ? RecordState::sound : RecordState::stale);
    const auto text = os::read_if_readable(file);
    report(file, text && text->ends_with(tree::record_line_end) ? RecordState::damaged : RecordState::torn);
  }

  void check_recipe(const fs::path& file) {
    const auto digest = image::Digest::parse_hex(file.stem().string());
    if (!digest || layer::read_recipe(tree_.store(), *digest)) return;
    const auto text = os::read_if_readable(file);
    if (text) report(file, text->ends_with("}\n") ? RecordState::damaged : RecordState::torn);
  }

  void check_original(const fs::path& file) {
    const auto digest = image::Digest::parse_hex(file.filename().string());
    if (digest && !tree::read_original(tree_.store(), *digest)) report(file, RecordState::damaged);
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
    const auto bytes = os::read_if_readable(layout().blob(blob));
    if (bytes && image::Digest::of(*bytes) == blob) tree::keep_original(tree_.store(), blob, *bytes);
  }

  Findings& findings_;
  const VerifiedTree& tree_;
};

}  // namespace

void verify_state(Findings& findings, const VerifiedTree& tree) {
  State(findings, tree).check();
}

}  // namespace nixery::maintenance
