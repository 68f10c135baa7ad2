// Verification and repair: of damaged objects on every store, of misplaced files on a directory.
#include "maintenance/verify.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "each_store.h"
#include "image/parse.h"
#include "images.h"
#include "layer/recipe.h"
#include "os/file.h"
#include "tree/records.h"
#include "tree/referrers.h"
#include "tree/tree.h"

using namespace nixery;
namespace fs = std::filesystem;
using test::Images;
using tree::ObjectName;

namespace {

const maintenance::VerifyOptions with_repair{.repair = true, .threads = 1, .on_progress = {}};

struct Damage {
  std::string_view name;  // for messages
  std::string_view what;  // Problem::what of the first problem
  std::function<void(const tree::BlobStore&)> apply;
  bool image_stays = true;  // its tag; otherwise the next pull builds it again
};

}  // namespace

TEST_CASE("verify finds each kind of damaged object and repairs it, on any store") {
  test::on_each_store([](const std::shared_ptr<const tree::BlobStore>& store) {
    test::PublishedImages images{tree::Tree(store)};
    const auto other = images.add("other", {"other layer"});
    const std::string image_key(64, 'a'), config = Images::config_of({"layer"});
    const auto layer = ObjectName::blob(image::Digest::of("layer")),
               config_blob = ObjectName::blob(image::Digest::of(config));
    const auto tag = ObjectName::tag("image", "latest"), record = ObjectName::record("image", "latest");
    const auto image = images.add("image", {"layer"}), document = images.attach(image, "SBOM");
    const auto manifest = ObjectName::manifest(image, image::MediaType::oci_manifest);
    const auto misnamed = ObjectName::manifest(image, image::MediaType::docker_manifest_list);
    const std::string manifest_bytes = *store->read(manifest);
    const auto put = [](const ObjectName& name, std::string bytes) {
      return [name, bytes](const tree::BlobStore& of) { of.put(name, bytes); };
    };
    const auto remove = [](const ObjectName& name) { return [name](const tree::BlobStore& of) { of.remove(name); }; };
    const std::vector<Damage> damages = {
        {"a layer with other bytes", "blob", put(layer, "reyal"), false},
        {"a truncated layer", "blob", put(layer, "lay"), false},
        {"a missing layer without a recipe", "manifest", remove(layer), false},
        {"a config with other bytes", "blob", put(config_blob, "{}")},
        {"a manifest with other bytes", "manifest", put(manifest, "{}"), false},
        {"a missing manifest", "tag", remove(manifest), false},
        {"a manifest under the name of another type", "manifest",
         [&](const tree::BlobStore& of) {
           of.remove(manifest);
           of.put(misnamed, manifest_bytes);
         }},
        {"a second manifest", "manifest", put(misnamed, "{}")},
        {"a tag that leads to nothing", "tag", put(tag, image::Digest::of("nothing").str()), false},
        {"a tag of another image", "tag", put(tag, other.str()), false},
        {"a missing record", "record", remove(record), false},
        {"a damaged record", "record", put(record, "{}"), false},
        {"a missing document", "referrers", remove(ObjectName::manifest(document, image::MediaType::oci_manifest)),
         false},
        {"a truncated list of referrers", "referrers", put(ObjectName::referrers_index(image), "{")},
        {"a missing list of referrers", "referrers", remove(ObjectName::referrers_index(image))},
        {"a list of referrers with another entry", "referrers",
         put(ObjectName::referrers_index(image),
             tree::referrers_index(
                 {{image::MediaType::oci_manifest, image::Digest::of("x"), 1, {}, {}, "text/plain"}}))},
        {"a damaged record of an image", "index", put(ObjectName::image(image_key), "x end\n")},
        {"a damaged record of a layer", "index", put(ObjectName::group(image_key), "x end\n")},
        {"a damaged record of a segment", "index", put(ObjectName::segment(image_key), "x end\n")},
        {"a damaged recipe", "index", put(ObjectName::recipe(image::Digest::of("layer")), "{}\n")},
        {"a damaged copy of a config", "index", put(ObjectName::original(image::Digest::of(config)), "x")},
    };
    for (const Damage& damage : damages) {
      CAPTURE(damage.name);
      CHECK(images.add("image", {"layer"}) == image);
      images.attach(image, "SBOM");
      tree::write_image_record(*store, image_key, image);
      CHECK(maintenance::verify(store, {}).problems.empty());

      damage.apply(*store);
      const auto found = maintenance::verify(store, {});
      REQUIRE_FALSE(found.problems.empty());
      CHECK(found.problems.front().what == damage.what);
      CHECK_FALSE(found.sound());
      CHECK(maintenance::verify(store, with_repair).sound());
      for (const auto& problem : maintenance::verify(store, {}).problems)
        FAIL_CHECK(problem.what << " " << problem.name << ": " << problem.message);
      CHECK((images.tree.digest_of_tag("image", "latest") == image) == damage.image_stays);
      CHECK(images.tree.digest_of_tag("other", "latest") == other);
    }
  });
}

TEST_CASE("verify finds names that are none and links that lead elsewhere, and repairs them") {
  Images images;
  const auto image = images.add("image", {"layer"});
  const fs::path manifest = images.layout.manifest(image, image::MediaType::oci_manifest);
  const fs::path link = images.layout.tag("image", "latest");
  std::string what;
  bool image_stays = true;
  SUBCASE("a tag with another target") {
    fs::remove(link);
    fs::create_symlink("/etc", link);
    what = "tag";
    image_stays = false;
  }
  SUBCASE("a tag with the manifest's path from another directory") {
    fs::remove(link);
    fs::create_symlink("../../manifests/sha256/" + image.hex(), link);
    what = "tag";
  }
  SUBCASE("a manifest under the name of no type") {
    fs::rename(manifest, manifest.parent_path() / "manifest.json");
    what = "manifest";
  }
  SUBCASE("a file beside a manifest") {
    std::ofstream(manifest.parent_path() / "manifest.json") << "{}";
    what = "manifest";
  }
  const auto found = test::verify(images.layout, {});
  REQUIRE_FALSE(found.problems.empty());
  CHECK(found.problems.front().what == what);
  CHECK(test::verify(images.layout, with_repair).sound());
  CHECK(test::verify(images.layout, {}).problems.empty());
  CHECK((images.tree.digest_of_tag("image", "latest") == image) == image_stays);
  if (image_stays) CHECK(fs::read_symlink(link) == tree::Layout::tag_target("image", image));
  CHECK_FALSE(fs::exists(manifest.parent_path() / "manifest.json"));
}

TEST_CASE("a file that cannot be removed is not reported as repaired") {
  Images images;
  const auto& layout = images.layout;
  images.add("image", {"layer"});
  const fs::path file = layout.blob(image::Digest::of("layer"));
  std::ofstream(file, std::ios::trunc) << "reyal";
  for (const auto& entry : fs::recursive_directory_iterator(images.dir.path()))
    if (entry.is_directory() || entry.path().extension() == ".lock") fs::permissions(entry.path(), fs::perms::all);
  fs::permissions(images.dir.path(), fs::perms::all);
  fs::permissions(file.parent_path(), fs::perms(0555));
  constexpr uid_t nobody = 65534;
  const bool as_root = geteuid() == 0;  // root can remove everything
  if (as_root) REQUIRE(seteuid(nobody) == 0);
  maintenance::Verification found;
  CHECK_NOTHROW(found = test::verify(layout, with_repair));
  if (as_root) REQUIRE(seteuid(0) == 0);
  fs::permissions(file.parent_path(), fs::perms::all);
  CHECK_FALSE(found.sound());
  REQUIRE(found.problems.size() == 1);
  CHECK_FALSE(found.problems.front().repaired);
  CHECK(found.problems.front().message.find("cannot remove " + file.string() + ": Permission denied") !=
        std::string::npos);
  CHECK(fs::exists(file));
  CHECK(test::verify(layout, with_repair).sound());
  CHECK_FALSE(fs::exists(file));
}

TEST_CASE("a missing document can be attached again") {
  Images images;
  const auto& layout = images.layout;
  const auto image = images.add("image", {"layer"});
  const auto other = images.add("other", {"other layer"});
  const auto both = images.add_index("both", {image});
  images.attach(other, "its SBOM");
  const auto document = images.attach(image, "SBOM");
  const auto signature = images.manifest_of({"signature"}, {});
  images.tree.publish_tag("image", "sha256-" + image.hex() + ".sig", signature);
  const std::string key(64, 'a'), other_key(64, 'b');
  os::write_file(layout.image(key), image.hex());
  os::write_file(layout.image(other_key), other.hex());
  SUBCASE("a document with other bytes") {
    std::ofstream(layout.blob(image::Digest::of("SBOM")), std::ios::trunc) << "MOBS";
  }
  SUBCASE("a document's manifest with other bytes") {
    std::ofstream(layout.manifest(document, image::MediaType::oci_manifest), std::ios::trunc) << "{}";
  }
  SUBCASE("a signature with only a tag") {
    std::ofstream(layout.blob(image::Digest::of("signature")), std::ios::trunc) << "erutangis";
  }
  CHECK(test::verify(layout, with_repair).sound());
  CHECK(test::verify(layout, {}).problems.empty());
  // Only pulls of its names run the pipeline again; others are not affected.
  CHECK_FALSE(images.tree.digest_of_tag("image", "latest"));
  CHECK_FALSE(images.tree.digest_of_tag("both", "latest"));
  CHECK_FALSE(fs::exists(layout.image(key)));
  CHECK(images.has(image));
  CHECK(images.has(both));
  CHECK(images.tree.digest_of_tag("other", "latest") == other);
  CHECK(fs::exists(layout.image(other_key)));
}

TEST_CASE("without a tree, verification and collection fail") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "not mounted", dir.path() / "state"};
  CHECK_THROWS_WITH(test::verify(layout, {}), doctest::Contains("set NIXERY_TREE"));
  CHECK_THROWS_WITH(
      maintenance::collect(test::tree_at(layout).store(), layout.local(), {}, {}, maintenance::Mode::real),
      doctest::Contains("set NIXERY_TREE"));
  CHECK_FALSE(fs::exists(layout.state));
}

TEST_CASE("harmless leftovers are not problems, and a repair removes them") {
  Images images;
  const auto& layout = images.layout;
  const auto image = images.add("image", {"layer"});
  const auto in_the_making = images.manifest_of({"without a tag"}, {});
  images.attach(in_the_making, "SBOM");
  os::make_directories(layout.group("x").parent_path());
  os::write_file(layout.group(std::string(64, 'a')), "12");
  tree::write_record(images.tree.store(), {"gone", "latest", "r", false, image::Digest::of("gone").str()});
  fs::remove(layout.referrers_index(in_the_making));  // as before its first list is written
  CHECK(test::verify(layout, {}).problems.empty());
  CHECK(test::verify(layout, with_repair).problems.size() == 3);
  CHECK_FALSE(fs::exists(layout.group(std::string(64, 'a'))));
  CHECK_FALSE(tree::read_record(images.tree.store(), "gone", "latest"));
  CHECK(fs::exists(layout.referrers_index(in_the_making)));
  CHECK(images.tree.digest_of_tag("image", "latest") == image);
}

TEST_CASE("a list of referrers that a published image has lost is a problem, and is made again from what refers") {
  Images images;
  const auto& layout = images.layout;
  const auto image = images.add("image", {"layer"});
  const auto document = images.attach(image, "SBOM");
  SUBCASE("the list") {
    fs::remove(layout.referrers_index(image));
  }
  SUBCASE("all of it") {
    fs::remove_all(layout.referrers_dir(image));
  }
  const auto found = test::verify(layout, {});
  REQUIRE(found.problems.size() == 1);
  CHECK(found.problems[0].what == "referrers");
  CHECK(found.problems[0].name == image.str());
  CHECK(test::verify(layout, with_repair).sound());
  const auto listed = tree::referrers_of(images.tree.store(), image);
  REQUIRE(listed.size() == 1);
  CHECK(listed[0].digest == document);
  CHECK(test::verify(layout, {}).problems.empty());
}
