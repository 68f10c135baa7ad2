// A tree of small images for tests of collections.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <string>
#include <vector>

#include "directory_tree.h"
#include "image/manifest.h"
#include "maintenance/collect.h"
#include "maintenance/verify.h"
#include "os/file.h"
#include "temporary_directory.h"
#include "tree/records.h"
#include "tree/referrers.h"
#include "tree/tree.h"

namespace nixery::test {

namespace fs = std::filesystem;

inline os::Time hours_ago(int hours) {
  const auto now = std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
  return now - std::chrono::hours(hours);
}

// Small images in any store.
class PublishedImages {
 public:
  explicit PublishedImages(tree::Tree in) : tree(std::move(in)) { tree.store().prepare(); }

  image::Digest add(const std::string& name, const std::vector<std::string>& layers) {
    const auto digest = manifest_of(layers, {});
    tree::write_record(tree.store(), {name, "latest", "r", false, digest.str()});
    tree.publish_tag(name, "latest", digest);
    return digest;
  }

  image::Digest manifest_of(const std::vector<std::string>& layers, const image::Annotations& annotations) {
    const std::string bytes = config_of(layers);
    image::Manifest manifest{image::Format::oci,
                             {image::MediaType::oci_config, tree.publish_blob(bytes), bytes.size(), {}, {}},
                             {},
                             annotations};
    for (const std::string& layer : layers)
      manifest.layers.push_back({image::MediaType::oci_layer_gzip, publish_layer(layer), layer.size(), {}, {}});
    return tree.publish_manifest(image::to_json(manifest), image::MediaType::oci_manifest);
  }

  static std::string config_of(const std::vector<std::string>& layers) {
    image::Config config;
    for (const std::string& layer : layers) config.layers.push_back({image::Digest::of(layer), "a layer"});
    return image::to_json(config);
  }

  // Of layers no copy is kept.
  image::Digest publish_layer(const std::string& layer) {
    const auto digest = tree.publish_blob(layer);
    tree.store().remove(tree::ObjectName::original(digest));
    return digest;
  }

  image::Digest add_index(const std::string& name, const std::vector<image::Digest>& members) {
    image::Index index{image::Format::oci, {}, {}};
    for (const auto& member : members)
      index.manifests.push_back({image::MediaType::oci_manifest, member, tree.manifest(member)->bytes.size(), {}, {}});
    const auto digest = tree.publish_manifest(image::to_json(index), image::MediaType::oci_index);
    tree::write_record(tree.store(), {name, "latest", "r", false, digest.str()});
    tree.publish_tag(name, "latest", digest);
    return digest;
  }

  image::Digest attach(const image::Digest& subject, const std::string& document) {
    const auto blob = publish_layer(document);
    const std::string bytes = R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":)"
                              R"({"mediaType":"application/vnd.oci.empty.v1+json","digest":")" +
                              tree.publish_blob("{}").str() +
                              R"(","size":2},"layers":[{"mediaType":"text/plain","digest":")" + blob.str() +
                              R"(","size":)" + std::to_string(document.size()) +
                              R"(}],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
                              subject.str() + R"(","size":1}})";
    const auto digest = tree.publish_manifest(bytes, image::MediaType::oci_manifest);
    const image::Descriptor referrer{image::MediaType::oci_manifest, digest, bytes.size(), {}, {}, "text/plain"};
    tree::publish_referrers(tree, subject, {{referrer}});
    return digest;
  }

  bool has(const image::Digest& manifest) const { return tree.manifest(manifest).has_value(); }
  bool has_layer(const std::string& bytes) const { return tree.has_blob(image::Digest::of(bytes)); }

  const tree::Tree tree;
};

struct TemporaryTree {
  const TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
};

// A tree of small images whose files' times can be set back.
class Images : public TemporaryTree, public PublishedImages {
 public:
  Images() : PublishedImages(tree_at(layout)) {}

  // Sets all existing files' times back by that long.
  void age(int hours) {
    const auto time = hours_ago(hours).time_since_epoch();
    const timespec stamp{std::chrono::duration_cast<std::chrono::seconds>(time).count(), 0};
    const timespec times[2] = {stamp, stamp};
    for (const auto& entry : fs::recursive_directory_iterator(dir.path()))
      REQUIRE(utimensat(AT_FDCWD, entry.path().c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
  }

  maintenance::Collection collect(const maintenance::Policy& policy,
                                  maintenance::Mode mode = maintenance::Mode::real) const {
    return maintenance::collect(tree.store(), layout.local(), policy, {}, mode);
  }
};

inline maintenance::Verification verify(const tree::Layout& layout, const maintenance::VerifyOptions& options) {
  return maintenance::verify(std::make_shared<tree::DirectoryStore>(layout.tree, layout.state), options);
}

inline maintenance::Policy older_than(std::chrono::seconds age) {
  maintenance::Policy policy;
  policy.max_age = age;
  return policy;
}

}  // namespace nixery::test
