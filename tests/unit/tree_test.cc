#include "tree/tree.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "directory_tree.h"
#include "error.h"
#include "os/file.h"
#include "temporary_directory.h"
#include "tree/records.h"
#include "tree/referrers.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

const std::string hex = "ab12" + std::string(60, '0');
const auto digest = *image::Digest::parse_hex(hex);

std::size_t count_files(const fs::path& dir) {
  std::size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) count += entry.is_regular_file() ? 1U : 0U;
  return count;
}

}  // namespace

TEST_CASE("the layout of TREE and STATE, name by name") {
  const tree::Layout layout{"/T", "/S"};
  CHECK(layout.blob(digest) == "/T/blobs/sha256/ab/" + hex);
  CHECK(layout.manifest(digest, image::MediaType::oci_manifest) ==
        "/T/manifests/sha256/" + hex + "/manifest.oci-manifest");
  CHECK(layout.manifest(digest, image::MediaType::docker_manifest) ==
        "/T/manifests/sha256/" + hex + "/manifest.docker-manifest");
  CHECK(layout.tag("shell/git", "latest") == "/T/tags/shell/git/_tags/latest");
  CHECK(layout.tag_target("shell/git", digest) == "../../../../manifests/sha256/" + hex);
  CHECK(layout.recipe(digest) == "/S/recipes/" + hex + ".json");
  CHECK(layout.segment(hex) == "/S/segments/ab/" + hex);
  CHECK(layout.record("shell/git", "latest") == "/S/records/shell/git/_tags/latest.json");
  CHECK(layout.manifest(digest, image::MediaType::oci_index) == "/T/manifests/sha256/" + hex + "/manifest.oci-index");
  CHECK(layout.manifest(digest, image::MediaType::docker_manifest_list) ==
        "/T/manifests/sha256/" + hex + "/manifest.docker-list");
  CHECK(layout.incoming() == "/T/incoming");
  CHECK(layout.referrers_dir(digest) == "/T/referrers/sha256/" + hex);
  CHECK(layout.referrer(digest, digest) == "/T/referrers/sha256/" + hex + "/" + hex + ".json");
  CHECK(layout.referrers_index(digest) == "/T/referrers/sha256/" + hex + "/index.oci-index");
  CHECK(layout.group(hex) == "/S/groups/" + hex);
  CHECK(layout.image(hex) == "/S/images/" + hex);
  CHECK(layout.failure(hex) == "/S/failures/" + hex + ".json");
  CHECK(layout.lock("gate") == "/S/locks/gate.lock");
  CHECK(layout.key_lock(hex).file == "/S/locks/keys.lock");
  CHECK(layout.key_lock(hex).byte == layout.key_lock(hex).byte);
  CHECK(layout.key_lock(hex).byte != layout.key_lock("other").byte);
  CHECK(layout.records() == "/S/records");
  CHECK(layout.uses() == "/S/uses");
  const tree::LocalState local = layout.local();
  CHECK(local.log(hex) == "/S/logs/" + hex + ".log");
  CHECK(local.build_probe() == "/S/probe/build");
  CHECK(local.gc_roots(hex) == "/S/gcroots/" + hex);
  CHECK(local.sources() == "/S/sources");
  CHECK(local.attribute_names() == "/S/attributes");
}

TEST_CASE("the path of an object follows from its name, and no name leads out of its directory") {
  using tree::Kind;
  using tree::ObjectName;
  const tree::Layout layout{"/T", "/S"};
  CHECK(layout.path(ObjectName::blob(digest)) == layout.blob(digest));
  for (const image::MediaType type : image::manifest_types)
    CHECK(layout.path(ObjectName::manifest(digest, type)) == layout.manifest(digest, type));
  CHECK(layout.path(ObjectName::tag("shell/git", "latest")) == layout.tag("shell/git", "latest"));
  CHECK(layout.path(ObjectName::referrer(digest, digest)) == layout.referrer(digest, digest));
  CHECK(layout.path(ObjectName::referrers_index(digest)) == layout.referrers_index(digest));
  CHECK(layout.path(ObjectName::record("shell/git", "latest")) == layout.record("shell/git", "latest"));
  CHECK(layout.path(ObjectName::recipe(digest)) == layout.recipe(digest));
  CHECK(layout.path(ObjectName::group(hex)) == layout.group(hex));
  CHECK(layout.path(ObjectName::segment(hex)) == layout.segment(hex));
  CHECK(layout.path(ObjectName::image(hex)) == layout.image(hex));
  CHECK(layout.path(ObjectName::failure(hex)) == layout.failure(hex));
  CHECK(layout.path({Kind::maintenance, "collected"}) == "/S/collected");
  for (const Kind kind : {Kind::blob, Kind::manifest, Kind::tag, Kind::referrer, Kind::record, Kind::group,
                          Kind::segment, Kind::image, Kind::failure, Kind::maintenance})
    for (const char* key : {"../x", "/etc/passwd", "a/../../x"}) CHECK_THROWS_AS(layout.path({kind, key}), Error);
}

TEST_CASE("a tag links to its manifest from any depth, also in a copied tree") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  tree.store().prepare();
  const auto manifest = tree.publish_manifest("{}", image::MediaType::oci_manifest);
  tree.publish_tag("git", "latest", manifest);
  tree.publish_tag("a/b/c/d", "v1", manifest);
  fs::rename(dir.path() / "tree", dir.path() / "copy");
  for (const char* tag : {"tags/git/_tags/latest", "tags/a/b/c/d/_tags/v1"})
    CHECK(os::read_if_exists(dir.path() / "copy" / tag / "manifest.oci-manifest") == "{}");
}

TEST_CASE("published content exists once, under its digest, and nothing else does") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  tree.store().prepare();
  const auto blob = tree.publish_blob("bytes");
  CHECK(tree.publish_blob("bytes") == blob);
  os::write_file(layout.blob(blob), "rotten");
  CHECK(tree.publish_blob("bytes") == blob);
  CHECK(os::read_if_exists(layout.blob(blob)) == "bytes");
  CHECK(tree.has_blob(blob));
  CHECK(os::read_if_exists(layout.blob(blob)) == "bytes");
  CHECK(count_files(dir.path() / "tree") == 1);
  CHECK_FALSE(tree.manifest(blob));

  const auto manifest = tree.publish_manifest("{}", image::MediaType::docker_manifest);
  REQUIRE(tree.manifest(manifest));
  CHECK(tree.manifest(manifest)->type == image::MediaType::docker_manifest);
}

TEST_CASE("a tag moves in one step and can be dropped") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  tree.store().prepare();
  const auto one = tree.publish_manifest("{1}", image::MediaType::oci_manifest);
  const auto two = tree.publish_manifest("{2}", image::MediaType::oci_manifest);
  CHECK_FALSE(tree.digest_of_tag("git", "latest"));
  tree.publish_tag("git", "latest", one);
  tree.publish_tag("git", "latest", two);
  CHECK(tree.digest_of_tag("git", "latest") == two);
  tree.drop_tag("git", "latest");
  tree.drop_tag("git", "latest");
  CHECK_FALSE(tree.digest_of_tag("git", "latest"));
}

TEST_CASE("a blob behind a link, its own or a directory's, is not accepted") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  tree.store().prepare();
  const auto blob = tree.publish_blob("bytes");
  const fs::path file = layout.blob(blob);
  fs::rename(file.parent_path(), dir.path() / "elsewhere");
  fs::create_directory_symlink(dir.path() / "elsewhere", file.parent_path());
  CHECK_FALSE(tree.has_blob(blob));
  fs::remove(file.parent_path());
  fs::create_directory(file.parent_path());
  fs::create_symlink(dir.path() / "elsewhere" / file.filename(), file);
  CHECK_FALSE(tree.has_blob(blob));
  fs::remove(file);
  fs::copy_file(dir.path() / "elsewhere" / file.filename(), file);
  CHECK(tree.has_blob(blob));
}

TEST_CASE("a link with another target is not a tag") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  os::publish_symlink(layout.tag("git", "latest"), "/etc");
  CHECK_FALSE(tree.digest_of_tag("git", "latest"));
}

TEST_CASE("a dropped pending file leaves nothing, a published one only itself") {
  const test::TemporaryDirectory dir;
  {
    os::PendingFile pending(dir.path() / "in");
    pending.write("half");
    CHECK(count_files(dir.path()) == 1);
  }
  CHECK(count_files(dir.path()) == 0);
  os::PendingFile pending(dir.path() / "in");
  pending.write("whole");
  pending.publish(dir.path() / "deep/er/file");
  CHECK(os::read_if_exists(dir.path() / "deep/er/file") == "whole");
  CHECK(count_files(dir.path()) == 1);
}

TEST_CASE("records contain what a tag was built from; a torn one counts as missing") {
  const test::TemporaryDirectory dir;
  const tree::DirectoryStore store(dir.path() / "tree", dir.path() / "state");
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  tree::write_record(store, {"shell/git", "latest", "abc", true, "sha256:" + hex});
  tree::write_record(store, {"git", std::string(40, 'a'), "abc", false, "sha256:" + hex});
  os::write_file(layout.record("torn", "latest"), "{\"repos");
  std::size_t moving = 0, seen = 0;
  tree::for_each_record(store, [&](const tree::TagRecord& record) {
    ++seen;
    moving += record.moving ? 1U : 0U;
  });
  CHECK(seen == 2);
  CHECK(moving == 1);
  CHECK(tree::read_record(store, "shell/git", "latest")->revision == "abc");
  CHECK_FALSE(tree::read_record(store, "torn", "latest"));
}

TEST_CASE("a record of another tag counts as missing, even if the tags are similar") {
  const test::TemporaryDirectory dir;
  const tree::DirectoryStore store(dir.path() / "tree", dir.path() / "state/");
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const auto place = layout.record("shell/git", "latest");
  const auto check = [&](std::string_view repository, std::string_view tag) {
    CAPTURE(repository);
    CAPTURE(tag);
    os::write_file(place,
                   fmt::format(R"({{"repository":"{}","tag":"{}","manifest":"sha256:{}"}})", repository, tag, hex));
    CHECK_FALSE(tree::read_record(store, "shell/git", "latest"));
    tree::for_each_record(store, [&](const tree::TagRecord& record) { CHECK(record.repository == "nobody's"); });
  };
  for (const char* repository : {"shell/curl", "shell//git", "shell/git/", "shell/./git", "/shell/git", ""})
    check(repository, "latest");
  check((layout.records() / "shell/git").native(), "latest");
  check("shell/git", (place.parent_path() / "latest").native());
  check("shell/git", "../_tags/latest");
  tree::write_record(store, {"shell/git", "latest", "abc", true, "sha256:" + hex});
  CHECK(tree::read_record(store, "shell/git", "latest"));
}
