// What every blob store promises, and that tags, referrers, records, failures and the index of layers need no more:
// each test runs on a directory and in memory.
#include "tree/blob_store.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "each_store.h"
#include "error.h"
#include "layer/recipe.h"
#include "layer/writer.h"
#include "layer_test_store.h"
#include "tree/directory_store.h"
#include "tree/failures.h"
#include "tree/listing.h"
#include "tree/recent.h"
#include "tree/records.h"
#include "tree/referrers.h"
#include "tree/tree.h"
#include "tree/tree_lock.h"

using namespace nixery;
using test::on_each_store;
using tree::Kind;
using tree::ObjectName;
using Names = std::vector<std::string>;

namespace {

const std::string hex_a(64, 'a'), hex_b(64, 'b');
const auto a = *image::Digest::parse_hex(hex_a), b = *image::Digest::parse_hex(hex_b);

Names keys(const tree::BlobStore& store, Kind kind, std::string_view prefix = "") {
  Names found;
  store.list(kind, prefix, [&](const ObjectName& name, const tree::ObjectInfo&) {
    found.push_back(name.key());
    return true;
  });
  std::sort(found.begin(), found.end());
  return found;
}

std::string bytes_of(const os::Fd& file) {
  std::string bytes(os::size_of(file, "a blob"), '\0');
  CHECK(pread(file.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

const std::vector<ObjectName>& one_of_each_kind() {
  static const std::vector<ObjectName> names = {ObjectName::blob(a),
                                                ObjectName::manifest(a, image::MediaType::docker_manifest_list),
                                                ObjectName::referrer(a, b),
                                                ObjectName::referrers_index(a),
                                                ObjectName::record("shell/git", "latest"),
                                                ObjectName::recipe(a),
                                                ObjectName::group(hex_a),
                                                ObjectName::segment(hex_a),
                                                ObjectName::image(hex_a),
                                                ObjectName::failure(hex_a),
                                                ObjectName(Kind::maintenance, "uses")};
  return names;
}

}  // namespace

TEST_CASE("an object of each kind is there once it is put, is replaced, listed, touched and removed") {
  on_each_store([](const auto& store) {
    for (const ObjectName& name : one_of_each_kind()) {
      CAPTURE(name.str());
      CHECK_FALSE(store->has(name));
      CHECK_FALSE(store->read(name));
      CHECK_FALSE(store->open(name));
      CHECK_FALSE(store->touch(name));
      CHECK_FALSE(store->remove(name));
      CHECK(keys(*store, name.kind()).empty());

      store->put(name, "bytes");
      CHECK(store->has(name));
      CHECK(store->read(name) == "bytes");
      CHECK(bytes_of(store->open(name)) == "bytes");
      CHECK(store->status(name)->size == 5);
      CHECK(keys(*store, name.kind()) == Names{name.key()});
      CHECK(store->touch(name));

      auto scratch = store->scratch(name.kind());
      scratch.write("other");
      scratch.write(" bytes");
      store->put(name, std::move(scratch));
      CHECK(store->read(name) == "other bytes");

      CHECK(store->remove(name));
      CHECK_FALSE(store->has(name));
      CHECK(keys(*store, name.kind()).empty());
    }
  });
}

TEST_CASE("an open object keeps its bytes when it is replaced or removed") {
  on_each_store([](const auto& store) {
    store->put(ObjectName::blob(a), "bytes");
    const os::Fd file = store->open(ObjectName::blob(a));
    store->put(ObjectName::blob(a), "replaced");
    store->remove(ObjectName::blob(a));
    CHECK(bytes_of(file) == "bytes");
  });
}

TEST_CASE("names are listed by repository and by subject, until the visitor has seen enough") {
  on_each_store([](const auto& store) {
    for (const char* repository : {"git", "git/lfs", "shell/git"})
      for (const char* tag : {"latest", "v1"}) {
        store->put(ObjectName::tag(repository, tag), a.str());
        store->put(ObjectName::record(repository, tag), "{}");
      }
    for (const image::Digest& subject : {a, b})
      for (const image::Digest& referrer : {a, b}) store->put(ObjectName::referrer(subject, referrer), "{}");
    store->put(ObjectName::referrers_index(a), "{}");
    const Names of_git{"git/_tags/latest", "git/_tags/v1"};
    CHECK(keys(*store, Kind::tag, tree::tags_prefix("git")) == of_git);
    CHECK(keys(*store, Kind::record, tree::tags_prefix("git")) == of_git);
    CHECK(keys(*store, Kind::tag).size() == 6);
    CHECK(keys(*store, Kind::record).size() == 6);
    CHECK(keys(*store, Kind::referrer, tree::digest_prefix(b)) == Names{hex_b + "/" + hex_a, hex_b + "/" + hex_b});
    CHECK(keys(*store, Kind::referrer).size() == 4);
    CHECK(keys(*store, Kind::referrers_index) == Names{hex_a});
    CHECK(keys(*store, Kind::tag, tree::tags_prefix("curl")).empty());
    std::size_t seen = 0;
    store->list(Kind::tag, "", [&](const ObjectName&, const tree::ObjectInfo&) { return ++seen < 3; });
    CHECK(seen == 3);
  });
}

TEST_CASE("the parts of a name come back from its key") {
  const auto tag = ObjectName::tag("shell/git", "v1");
  CHECK(tag.repository() == "shell/git");
  CHECK(tag.tag() == "v1");
  const auto manifest = ObjectName::manifest(a, image::MediaType::oci_index);
  CHECK(manifest.digest() == a);
  CHECK(manifest.media_type() == image::MediaType::oci_index);
  CHECK(ObjectName::referrer(a, b).digest() == a);
  CHECK(ObjectName::referrer(a, b).referrer_digest() == b);
  CHECK_FALSE(ObjectName(Kind::blob, "short").digest());
}

TEST_CASE("files of a directory that are no objects are not listed") {
  const test::TemporaryDirectory dir;
  const tree::DirectoryStore store(dir.path() / "tree", dir.path() / "state");
  store.prepare();
  for (const char* file : {"tree/blobs/sha256/ab/README", "tree/manifests/sha256/README",
                           "tree/referrers/sha256/x/y.json", "state/originals/ab/README", "state/recipes/x.json"})
    os::write_file(dir.path() / file, "x");
  for (const Kind kind :
       {Kind::blob, Kind::manifest, Kind::referrer, Kind::referrers_index, Kind::original, Kind::recipe})
    CHECK(keys(store, kind) == Names{});
}

TEST_CASE("a recipe that cannot be opened counts as absent") {
  const test::TemporaryDirectory dir;
  const tree::DirectoryStore store(dir.path() / "tree", dir.path() / "state");
  std::filesystem::create_directories(dir.path() / "state/recipes" / (hex_a + ".json"));
  CHECK_THROWS_AS(store.open(ObjectName::recipe(a)), Error);
  CHECK_FALSE(layer::has_recipe(store, a));
}

TEST_CASE("a lock excludes others until it is released, and a shared one only the exclusive") {
  on_each_store([](const auto& store) {
    for (const char* name : {"tree", "a build's key"}) {
      CAPTURE(name);
      auto held = store->try_lock(name);
      CHECK(held);
      CHECK(store->is_locked(name));
      CHECK_FALSE(store->try_lock(name));
      CHECK_FALSE(store->try_lock(name, tree::BlobStore::LockMode::shared));
      CHECK_FALSE(store->is_locked("another"));
      held.reset();
      CHECK_FALSE(store->is_locked(name));
      const auto one = store->lock(name, {}, tree::BlobStore::LockMode::shared);
      const auto two = store->try_lock(name, tree::BlobStore::LockMode::shared);
      CHECK(two);
      CHECK_FALSE(store->try_lock(name));
    }
    { const tree::SharedTreeLock shared(*store); }
    { const tree::ExclusiveTreeLock exclusive(*store); }
    CHECK_FALSE(store->is_locked("gate"));
  });
}

TEST_CASE("blobs, manifests and tags are published, listed and dropped on any store") {
  on_each_store([](const auto& store) {
    const tree::Tree tree(store);
    const auto blob = tree.publish_blob("blob");
    CHECK(tree.has_blob(blob));
    store->put(ObjectName::blob(blob), "damaged");
    CHECK(tree.publish_blob("blob") == blob);
    CHECK(store->read(ObjectName::blob(blob)) == "blob");

    const auto manifest = tree.publish_manifest("{}", image::MediaType::docker_manifest);
    CHECK(tree.manifest(manifest)->type == image::MediaType::docker_manifest);
    CHECK(tree.touch_manifest(manifest));
    CHECK_FALSE(tree.touch_manifest(blob));
    tree.publish_tag("shell/git", "latest", manifest);
    tree.publish_tag("shell/git", "gone", blob);  // leads to no manifest
    CHECK(tree.digest_of_tag("shell/git", "latest") == manifest);
    CHECK(tree::repositories(*store) == Names{"shell/git"});
    CHECK(tree::tags(*store, "shell/git") == Names{"latest"});
    CHECK(tree::recent_tags(tree, 5).front().manifest == manifest);

    const auto other = tree.publish_manifest("{1}", image::MediaType::oci_manifest);
    tree.publish_tag("shell/git", "latest", other);
    CHECK(tree.digest_of_tag("shell/git", "latest") == other);
    tree.drop_tag("shell/git", "latest");
    tree.drop_tag("shell/git", "latest");
    CHECK_FALSE(tree.digest_of_tag("shell/git", "latest"));
    CHECK(tree::tags(*store, "shell/git").empty());
  });
}

TEST_CASE("referrers are listed in one order on any store, and a damaged one is skipped") {
  on_each_store([](const auto& store) {
    const tree::Tree tree(store);
    const auto subject = tree.publish_manifest("{}", image::MediaType::oci_manifest);
    const auto descriptor = [](const image::Digest& digest, const char* type) {
      return image::Descriptor{image::MediaType::oci_manifest, digest, 2, {}, {}, type};
    };
    tree::publish_referrers(tree, subject, std::vector{descriptor(b, "text/a")});
    tree::publish_referrers(tree, subject, std::vector{descriptor(a, "text/b")});
    const auto found = tree::referrers_of(*store, subject);
    REQUIRE(found.size() == 2);
    CHECK(found[0].digest == b);
    CHECK(found[1].digest == a);
    CHECK(store->read(ObjectName::referrers_index(subject)) == tree::referrers_index(found));
    store->put(ObjectName::referrer(subject, b), R"({"mediaType":)");
    CHECK(tree::referrers_of(*store, subject).size() == 1);
  });
}

TEST_CASE("records and failures are kept on any store, and damaged ones are skipped") {
  on_each_store([](const auto& store) {
    tree::write_record(*store, {"shell/git", "latest", "r1", true, a.str()});
    CHECK(tree::read_record(*store, "shell/git", "latest")->revision == "r1");
    store->put(ObjectName::record("shell/curl", "latest"), *store->read(ObjectName::record("shell/git", "latest")));
    CHECK_FALSE(tree::read_record(*store, "shell/curl", "latest"));  // it names another tag
    Names seen;
    tree::for_each_record(*store, [&](const tree::TagRecord& record) { seen.push_back(record.repository); });
    CHECK(seen == Names{"shell/git"});
    tree::remove_record(*store, "shell/git", "latest");
    CHECK_FALSE(tree::read_record(*store, "shell/git", "latest"));

    for (std::size_t i = 0; i < tree::kept_failures + 5; ++i)
      tree::write_failure(*store, std::to_string(i), {"git", "latest", "build_failed", std::to_string(i), "", 1});
    CHECK(keys(*store, Kind::failure).size() == tree::kept_failures);
    const auto newest = std::to_string(tree::kept_failures + 4);
    CHECK(tree::recent_failures(*store, 1).front().message == newest);
    CHECK_FALSE(tree::read_failure(*store, "0"));
    tree::remove_failure(*store, newest);
    CHECK_FALSE(tree::read_failure(*store, newest));
    store->put(ObjectName::failure("torn"), R"({"repository":"g)");
    CHECK_FALSE(tree::read_failure(*store, "torn"));
  });
}

TEST_CASE("layers are written, reused, copied from and rebuilt to the same digest on any store") {
  on_each_store([](const auto& store) {
    test::Store packages;
    packages.file("one", "f", test::noise(50'000, 1));
    packages.file("two", "f", test::noise(50'000, 2));
    const auto one = packages.registered("one"), two = packages.registered("two");
    const layer::Encoding gzip = *layer::Encoding::parse("gzip-fast");
    layer::Writer writer(*store, {2, packages.root()});

    const auto first = writer.write({{{}, {&one}}, {{}, {&two}}}, gzip);
    CHECK_FALSE(first.layers[0].reused);
    CHECK(writer.write({{{}, {&one}}}, gzip).layers[0].reused);
    const auto both = writer.write({{{}, {&one, &two}}}, gzip);
    CHECK(both.stats.compressed == 0);  // copied from the blobs of the two
    CHECK(both.stats.copied > 0);
    for (const layer::LayerBlob& blob : {first.layers[0], first.layers[1], both.layers[0]})
      CHECK(image::Digest::of(*store->read(ObjectName::blob(blob.digest))) == blob.digest);

    const auto digest = first.layers[0].digest;
    CHECK(layer::can_rebuild(*store, digest));
    store->remove(ObjectName::blob(digest));
    CHECK_FALSE(layer::find_layer(*store, layer::layer_key(gzip, {{}, {&one}})));
    CHECK(writer.rebuild(digest).digest == digest);
    CHECK(store->has(ObjectName::blob(digest)));

    for (const Kind kind : {Kind::group, Kind::segment})
      for (const std::string& key : keys(*store, kind)) store->remove({kind, key});
    CHECK(layer::rebuild_index(*store) == 3);
    CHECK(writer.write({{{}, {&one, &two}}}, gzip).layers[0].reused);
  });
}
