#include "maintenance/verify_blobs.h"

#include <atomic>
#include <exception>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "layer/recipe.h"
#include "maintenance/blob_reader.h"
#include "maintenance/inventory.h"
#include "maintenance/verify_manifests.h"

namespace nixery::maintenance {

namespace {

// Layers whose diff id some config names, but for those that are not compressed.
std::set<image::Digest> layers_to_prove(const tree::Tree& tree) {
  std::set<image::Digest> layers;
  for_each_manifest(tree, [&](const image::ParsedManifest& manifest) {
    for (const auto& layer : manifest.layers)
      if (image::is_compressed_layer(layer.media_type)) layers.insert(layer.digest);
  });
  return layers;
}

class Blobs {
 public:
  Blobs(Findings& findings, const tree::Tree& tree) : findings_(findings), tree_(tree) {}

  DiffIds check() {
    const Inventory inventory = list_files(tree_.store());
    std::uint64_t total = 0;
    for (const Blob& blob : inventory.blobs) total += blob.size;
    findings_.expect_bytes(total);
    findings_.count(&Verification::blobs, inventory.blobs.size());
    to_prove_ = layers_to_prove(tree_);
    for_each_on_all_cores(inventory.blobs.size(), [&](std::size_t at) { check(inventory.blobs[at].digest); });
    return std::move(diff_ids_);
  }

 private:
  template <typename Check>
  void for_each_on_all_cores(std::size_t count, const Check& check_one) {
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    {
      std::vector<std::jthread> threads;
      const unsigned wanted = findings_.options().threads;
      for (unsigned i = 0; i < (wanted ? wanted : std::max(1U, std::thread::hardware_concurrency())); ++i)
        threads.emplace_back([&] {
          try {
            for (std::size_t at; (at = next++) < count;) check_one(at);
          } catch (...) {
            const std::lock_guard lock(mutex_);
            if (!failure) failure = std::current_exception();
          }
        });
    }
    if (failure) std::rethrow_exception(failure);
  }

  void check(const image::Digest& digest) {
    const bool prove = to_prove_.contains(digest);
    auto recipe = prove ? layer::read_recipe(tree_.store(), digest) : std::nullopt;
    const bool decompress = prove && (!recipe || !recipe->is_checked);
    const auto contents = read(digest, decompress);
    if (!contents) return;  // it is gone
    if (contents->digest != digest) return report(digest, *contents);
    if (!prove) return;
    const auto diff_id = decompress ? contents->diff_id : std::optional(recipe->diff_id);
    if (!diff_id) return;
    // An earlier version's recipe, now proven: the next verification need not decompress.
    if (decompress && recipe && recipe->diff_id == *diff_id && findings_.repairs()) {
      recipe->is_checked = true;
      layer::write_recipe(tree_.store(), *recipe);
    }
    const std::lock_guard lock(mutex_);
    diff_ids_.emplace(digest, *diff_id);
  }

  std::optional<BlobContents> read(const image::Digest& digest, bool decompress) {
    os::Fd blob;
    try {
      blob = tree_.store().open(tree::ObjectName::blob(digest));
    } catch (const Error& error) {
      return BlobContents{{}, error.what(), {}};
    }
    if (!blob) return std::nullopt;
    return read_blob(blob, decompress, [this](std::size_t bytes) { findings_.hashed(bytes); });
  }

  void report(const image::Digest& digest, const BlobContents& contents) {
    const bool again = can_make_again(tree_, digest);
    const std::string wrong = contents.digest ? fmt::format("its bytes are those of {}", contents.digest->str())
                                              : fmt::format("it cannot be read: {}", contents.unreadable);
    findings_.problem(
        "blob", digest.str(), wrong + (again ? "; once removed, it is made again when it is asked for" : ""), [&] {
          // What cannot be read today may be there tomorrow.
          if (!contents.digest && !again)
            throw Error(Failure::storage, "it is left as it is, since nothing is here to make it from again");
          if (!tree_.restore_blob(digest)) tree_.store().remove(tree::ObjectName::blob(digest));
        });
  }

  Findings& findings_;
  const tree::Tree& tree_;
  std::set<image::Digest> to_prove_;
  std::mutex mutex_;  // guards what follows
  DiffIds diff_ids_;
};

}  // namespace

DiffIds verify_blobs(Findings& findings, const tree::Tree& tree) {
  return Blobs(findings, tree).check();
}

bool can_make_again(const tree::Tree& tree, const image::Digest& blob) {
  return layer::can_rebuild(tree.store(), blob) || tree.can_restore_blob(blob);
}

}  // namespace nixery::maintenance
