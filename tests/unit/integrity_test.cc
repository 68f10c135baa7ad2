// Every kind of record with one bit flipped: what a reader believes is what was written, or nothing.
#include <doctest/doctest.h>

#include <fstream>
#include <functional>

#include "directory_tree.h"
#include "image/manifest.h"
#include "layer_test_store.h"
#include "os/file.h"
#include "temporary_directory.h"
#include "tree/originals.h"
#include "tree/record_checksum.h"
#include "tree/records.h"
#include "tree/tree.h"

using namespace nixery;
using test::read_file;
namespace fs = std::filesystem;

namespace {

void overwrite(const fs::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

// Calls `check` with each bit of the file's bytes flipped in turn; the file is whole again afterwards.
void for_each_flipped_bit(const fs::path& file, const std::function<void(std::size_t bit)>& check) {
  const std::string whole = read_file(file);
  REQUIRE_FALSE(whole.empty());
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    overwrite(file, bytes);
    check(bit);
  }
  overwrite(file, whole);
}

}  // namespace

TEST_CASE("a record's checksum covers its kind, its key and its contents") {
  const std::string line = tree::line_with_checksum("layer", "key", "a 1 b");
  const auto checked = tree::check_line("layer", "key", line);
  REQUIRE(checked);
  CHECK(checked->body == "a 1 b");
  CHECK_FALSE(checked->unchecked);
  CHECK_FALSE(tree::check_line("segment", "key", line));
  CHECK_FALSE(tree::check_line("layer", "other", line));
  CHECK_FALSE(tree::check_line("layer", "key", line.substr(0, line.size() - 1)));
  CHECK_FALSE(tree::check_line("layer", "key", ""));

  const std::string json = tree::json_with_checksum("tag", "key", R"({"a":1})");
  CHECK(json.starts_with(R"({"a":1,"checksum":")"));
  CHECK_FALSE(tree::check_json("tag", "key", json)->unchecked);
  CHECK_FALSE(tree::check_json("tag", "other", json));
}

TEST_CASE("a record that an earlier version wrote has no checksum, and says so") {
  const auto line = tree::check_line("layer", "key", "a 1 b end\n");
  REQUIRE(line);
  CHECK(line->unchecked);
  CHECK(line->body == "a 1 b");
  CHECK(tree::check_json("tag", "key", R"({"a":1})")->unchecked);
}

TEST_CASE("a tag's record with a flipped bit is its old self or is damaged") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  const tree::TagRecord record{"shell/git",   "latest", "r17", true, image::Digest::of("m").str(),
                               "nixos-23.11", "",       "key"};
  tree::write_record(tree.store(), record);
  std::size_t damaged = 0;
  for_each_flipped_bit(layout.record("shell/git", "latest"), [&](std::size_t bit) {
    const auto read = tree::read_record(tree.store(), "shell/git", "latest");
    std::size_t named = 0;
    tree::for_each_damaged_record(tree.store(), [&](std::string_view repository, std::string_view tag) {
      CHECK(repository == "shell/git");
      CHECK(tag == "latest");
      ++named;
    });
    CHECK_MESSAGE(named == (read ? 0u : 1u), bit);
    damaged += named;
    if (!read) return;
    CHECK_MESSAGE(read->revision == record.revision, bit);
    CHECK_MESSAGE(read->moving == record.moving, bit);
    CHECK_MESSAGE(read->manifest == record.manifest, bit);
    CHECK_MESSAGE(read->source == record.source, bit);
    CHECK_MESSAGE(read->settings == record.settings, bit);
  });
  CHECK(damaged > 1000);
  CHECK(tree::read_record(tree.store(), "shell/git", "latest"));
}

TEST_CASE("a tag's record without a checksum is read, if it is whole") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  const fs::path file = layout.record("git", "latest");
  fs::create_directories(file.parent_path());
  const std::string manifest = image::Digest::of("m").str();
  overwrite(file, R"({"repository":"git","tag":"latest","revision":"r","moving":true,"manifest":")" + manifest + "\"}");
  const auto read = tree::read_record(tree.store(), "git", "latest");
  REQUIRE(read);
  CHECK(read->moving);
  overwrite(file, R"({"repository":"git","tag":"latest","revision":"r","mouing":true,"manifest":")" + manifest + "\"}");
  CHECK_FALSE(tree::read_record(tree.store(), "git", "latest"));  // it would never be refreshed
}

TEST_CASE("a small blob that was lost is restored from its copy, or not at all") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  const std::string config = R"({"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}})";
  const auto digest = tree.publish_blob(config);
  const auto lose = [&] { fs::remove(layout.blob(digest)); };
  lose();
  CHECK(tree.can_restore_blob(digest));
  CHECK(tree.restore_blob(digest));
  CHECK(read_file(layout.blob(digest)) == config);
  CHECK_FALSE(tree.restore_blob(image::Digest::of("never published")));

  for_each_flipped_bit(layout.original(digest), [&](std::size_t bit) {
    lose();
    const bool restored = tree.restore_blob(digest);
    CHECK_MESSAGE(restored == tree.has_blob(digest), bit);
    if (restored) CHECK_MESSAGE(read_file(layout.blob(digest)) == config, bit);
  });
  overwrite(layout.original(digest), "");
  tree.publish_blob(config);  // writes the copy again
  lose();
  CHECK(tree.restore_blob(digest));
}

TEST_CASE("a blob is a file of its own: neither a directory nor what a link leads to") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  const auto digest = tree.publish_blob("bytes");
  CHECK(tree.has_blob(digest));
  const fs::path file = layout.blob(digest);
  fs::rename(file, dir.path() / "elsewhere");
  fs::create_symlink(dir.path() / "elsewhere", file);
  CHECK_FALSE(tree.has_blob(digest));
  fs::remove(file);
  fs::create_directory(file);
  CHECK_FALSE(tree.has_blob(digest));
}

TEST_CASE("a manifest under the name of another type is none, and makes room for the right one") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  const std::string bytes = image::to_json(image::Index{image::Format::oci, {}, {}});
  const auto digest = tree.publish_manifest(bytes, image::MediaType::oci_index);
  const fs::path right = layout.manifest(digest, image::MediaType::oci_index);
  const fs::path wrong = layout.manifest(digest, image::MediaType::docker_manifest_list);
  fs::rename(right, wrong);
  CHECK_FALSE(tree.manifest(digest));
  CHECK_FALSE(tree.touch_manifest(digest));
  tree.publish_manifest(bytes, image::MediaType::oci_index);
  CHECK(tree.manifest(digest)->type == image::MediaType::oci_index);
  CHECK_FALSE(fs::exists(wrong));
}
