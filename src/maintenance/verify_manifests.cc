#include "maintenance/verify_manifests.h"

#include <filesystem>
#include <map>
#include <set>
#include <vector>

#include "image/parse.h"

namespace nixery::maintenance {

namespace {

class Manifests {
 public:
  Manifests(Findings& findings, const tree::Tree& tree, const DiffIds& diff_ids)
      : findings_(findings), tree_(tree), diff_ids_(diff_ids) {}

  // Members before the indexes that lead to them, so that one repair brings out the next.
  void check() {
    std::map<image::Digest, Names> manifests;
    tree_.store().list(tree::Kind::manifest, "", [&](const tree::ObjectName& name, const tree::ObjectInfo&) {
      if (const auto digest = name.digest()) manifests[*digest].insert(name);
      return true;
    });
    findings_.count(&Verification::manifests, manifests.size());
    std::vector<image::Digest> indexes;
    for (const auto& [digest, names] : manifests) {
      auto stored = tree_.manifest(digest);
      check_names(digest, names, stored);
      if (!stored && findings_.repairs()) stored = tree_.manifest(digest);  // a misnamed one
      if (!stored) continue;
      if (image::is_index(stored->type))
        indexes.push_back(digest);
      else
        check_contents(*stored);
    }
    for (const image::Digest& digest : indexes)
      if (const auto stored = tree_.manifest(digest)) check_contents(*stored);
  }

 private:
  using Names = std::set<tree::ObjectName>;

  std::string file_of(const tree::ObjectName& name) const {
    return std::filesystem::path(tree_.store().location(name)).filename().string();
  }

  // The right bytes under the name of their type, and of no other: the web server goes by names alone.
  void check_names(const image::Digest& digest, const Names& names, const std::optional<tree::StoredManifest>& stored) {
    if (stored) {
      for (const tree::ObjectName& name : names)
        if (name.media_type() != stored->type)
          findings_.problem("manifest", digest.str(),
                            fmt::format("beside it lies {}, which may be served in its place", file_of(name)),
                            [&] { tree_.store().remove(name); });
      return;
    }
    for (const tree::ObjectName& name : names) {
      const auto bytes = tree::read_if_readable(tree_.store(), name);
      if (const auto type = bytes ? tree::type_of_manifest(*bytes, digest) : std::nullopt)
        return findings_.problem("manifest", digest.str(),
                                 fmt::format("its file is called {}, which is the name of another type", file_of(name)),
                                 [&] { tree_.publish_manifest(*bytes, *type); });
    }
    if (const std::string fault = fault_of(*names.begin()); !fault.empty() && !tree_.manifest(digest))
      findings_.problem("manifest", digest.str(), fault, [&] { tree_.drop_manifest(digest); });
  }

  // Empty if it is gone.
  std::string fault_of(const tree::ObjectName& name) const {
    try {
      return tree_.store().read(name) ? "its bytes are those of something else" : "";
    } catch (const Error& error) {
      return fmt::format("it cannot be read: {}", error.what());
    }
  }

  void check_contents(const tree::StoredManifest& stored) {
    std::string wrong;
    try {
      const auto manifest = image::parse_manifest(stored.bytes, stored.digest);
      findings_.hashed(stored.bytes.size());
      if (manifest.config) wrong = check_blob(*manifest.config, "config");
      for (const auto& layer : manifest.layers)
        if (wrong.empty()) wrong = check_blob(layer, "layer");
      for (const auto& member : manifest.members)
        if (wrong.empty() && !tree_.manifest(member.digest))
          wrong = fmt::format("it leads to the manifest {}, which is not there", member.digest.str());
      if (wrong.empty()) wrong = check_config(manifest);
    } catch (const Error& error) {
      if (error.failure() != Failure::corrupt) throw;
      wrong = error.what();
    }
    if (!wrong.empty())
      findings_.problem("manifest", stored.digest.str(), wrong, [&] { tree_.drop_manifest(stored.digest); });
  }

  // What is wrong with the blob; empty if nothing is.
  std::string check_blob(const image::ParsedDescriptor& blob, std::string_view role) {
    const auto status = tree_.store().status(tree::ObjectName::blob(blob.digest));
    if (status && status->size == blob.size) return {};
    if (status)
      return fmt::format("it says that the {} {} has {} bytes; it has {}", role, blob.digest.str(), blob.size,
                         status->size);
    if (findings_.repairs() && tree_.restore_blob(blob.digest)) return {};
    if (!can_make_again(tree_, blob.digest))
      return fmt::format("it leads to the {} {}, which is not there and cannot be made again here", role,
                         blob.digest.str());
    findings_.count(&Verification::evicted, std::size_t{1});
    return {};
  }

  // Engines compare each layer's tar with the diff id that the config gives for it.
  std::string check_config(const image::ParsedManifest& manifest) const {
    if (!manifest.config || !image::is_image_config(manifest.config->media_type)) return {};
    const auto bytes = tree::read_if_readable(tree_.store(), tree::ObjectName::blob(manifest.config->digest));
    if (!bytes || image::Digest::of(*bytes) != manifest.config->digest) return {};  // lost, or reported as a blob
    const auto config = image::parse_config(*bytes, manifest.config->digest);
    if (config.diff_ids.size() != manifest.layers.size())
      return fmt::format("its config {} has {} diff ids for {} layers", manifest.config->digest.str(),
                         config.diff_ids.size(), manifest.layers.size());
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
      const auto& layer = manifest.layers[i];
      const auto real = diff_id_of(layer);
      if (real && *real != config.diff_ids[i])
        return fmt::format("its config says that the diff id of {} is {}; it is {}", layer.digest.str(),
                           config.diff_ids[i].str(), real->str());
    }
    return {};
  }

  std::optional<image::Digest> diff_id_of(const image::ParsedDescriptor& layer) const {
    if (!image::is_compressed_layer(layer.media_type)) return layer.digest;
    const auto known = diff_ids_.find(layer.digest);
    return known == diff_ids_.end() ? std::nullopt : std::optional(known->second);
  }

  Findings& findings_;
  const tree::Tree& tree_;
  const DiffIds& diff_ids_;
};

}  // namespace

void verify_manifests(Findings& findings, const tree::Tree& tree, const DiffIds& diff_ids) {
  Manifests(findings, tree, diff_ids).check();
}

void for_each_manifest(const tree::Tree& tree, const std::function<void(const image::ParsedManifest&)>& visit) {
  tree.store().list(tree::Kind::manifest, "", [&](const tree::ObjectName& name, const tree::ObjectInfo&) {
    const auto digest = name.digest();
    const auto stored = digest ? tree.manifest(*digest) : std::nullopt;
    if (!stored) return true;
    try {
      visit(image::parse_manifest(stored->bytes, *digest));
    } catch (const Error& error) {
      if (error.failure() != Failure::corrupt) throw;
    }
    return true;
  });
}

}  // namespace nixery::maintenance
