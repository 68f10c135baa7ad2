#include "maintenance/verify_manifests.h"

#include <unistd.h>

#include <cerrno>
#include <vector>

#include "image/parse.h"
#include "os/directory.h"
#include "os/file.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

class Manifests {
 public:
  Manifests(Findings& findings, const VerifiedTree& tree, const DiffIds& diff_ids)
      : findings_(findings), tree_(tree), diff_ids_(diff_ids) {}

  // Members before the indexes that lead to them, so that one repair brings out the next.
  void check() {
    std::vector<image::Digest> indexes;
    os::for_each_entry(tree_.layout().tree / "manifests/sha256", [&](const auto& dir) {
      const auto digest = image::Digest::parse_hex(dir.path().filename().string());
      if (!digest) return;
      findings_.count(&Verification::manifests, std::size_t{1});
      auto stored = tree_.manifest(*digest);
      check_files(*digest, stored);
      if (!stored && findings_.repairs()) stored = tree_.manifest(*digest);  // of a misnamed file
      if (!stored) return;
      if (image::is_index(stored->type))
        indexes.push_back(*digest);
      else
        check_contents(*stored);
    });
    for (const image::Digest& digest : indexes)
      if (const auto stored = tree_.manifest(digest)) check_contents(*stored);
  }

 private:
  std::vector<fs::path> files_of(const image::Digest& digest) const {
    std::vector<fs::path> files;
    os::for_each_entry(tree_.layout().manifest_dir(digest), [&](const auto& entry) {
      if (!entry.path().filename().string().starts_with('.')) files.push_back(entry.path());
    });
    return files;
  }

  // One file with the right bytes under the name of its type, and no other: the web server goes by names alone. A
  // builder makes the directory just before it moves the manifest in.
  void check_files(const image::Digest& digest, const std::optional<tree::StoredManifest>& stored) {
    const auto files = files_of(digest);
    if (stored) {
      const fs::path right = tree_.layout().manifest(digest, stored->type);
      for (const fs::path& file : files)
        if (file != right)
          findings_.problem(
              "manifest", digest.str(),
              fmt::format("beside it lies {}, which may be served in its place", file.filename().string()),
              [&] { remove_entry(file); });
      return;
    }
    for (const fs::path& file : files)
      if (const auto type = type_of_misnamed(file, digest)) return rename(digest, file, *type);
    if (!files.empty() && !tree_.manifest(digest))
      findings_.problem("manifest", digest.str(), fault_of(files.front()), [&] { drop(digest); });
  }

  static std::string fault_of(const fs::path& file) {
    try {
      os::read_if_exists(file);
      return "its bytes are those of something else";
    } catch (const Error& error) {
      return fmt::format("it cannot be read: {}", error.what());
    }
  }

  static std::optional<image::MediaType> type_of_misnamed(const fs::path& file, const image::Digest& digest) {
    const auto bytes = os::read_if_readable(file);
    if (!bytes || image::Digest::of(*bytes) != digest) return std::nullopt;
    try {
      return image::parse_manifest(*bytes, digest).type;
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  void rename(const image::Digest& digest, const fs::path& file, image::MediaType type) {
    findings_.problem("manifest", digest.str(),
                      fmt::format("its file is called {}, which is the name of another type", file.filename().string()),
                      [&] {
                        const auto bytes = os::read_if_exists(file);
                        if (bytes) tree_.publish_manifest(*bytes, type);
                        for (const fs::path& other : files_of(digest))
                          if (other != tree_.layout().manifest(digest, type)) remove_entry(other);
                      });
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
    if (!wrong.empty()) findings_.problem("manifest", stored.digest.str(), wrong, [&] { drop(stored.digest); });
  }

  // What is wrong with the blob; empty if nothing is.
  std::string check_blob(const image::ParsedDescriptor& blob, std::string_view role) {
    const auto status = os::status_of(tree_.layout().blob(blob.digest));
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
    const auto bytes = os::read_if_readable(tree_.layout().blob(manifest.config->digest));
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

  void drop(const image::Digest& digest) {
    const fs::path dir = tree_.layout().manifest_dir(digest);
    os::for_each_entry(dir, [](const auto& entry) { remove_entry(entry.path()); });
    if (rmdir(dir.c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY) os::throw_errno("remove", dir);
  }

  Findings& findings_;
  const VerifiedTree& tree_;
  const DiffIds& diff_ids_;
};

}  // namespace

void verify_manifests(Findings& findings, const VerifiedTree& tree, const DiffIds& diff_ids) {
  Manifests(findings, tree, diff_ids).check();
}

}  // namespace nixery::maintenance
