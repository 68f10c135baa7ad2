#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <thread>

#include "attestations/signing_key.h"
#include "image/parse.h"
#include "images.h"
#include "maintenance/collect.h"
#include "maintenance/last_run.h"
#include "maintenance/last_use.h"
#include "maintenance/verify.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/process.h"
#include "pipeline/attach.h"
#include "quantity.h"
#include "tree/records.h"
#include "tree/referrers.h"
#include "tree/tree.h"
#include "tree/tree_lock.h"

using namespace nixery;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using maintenance::DroppedImage;

using test::hours_ago;
using test::Images;
using test::older_than;
namespace {

// A collection has listed the tree when it waits for the lock.
bool waits_to_be_alone(const Images& images) {
  return os::Lock::is_held(images.layout.lock("gate"));
}

void wait_for(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::yield();
  }
}

}  // namespace

TEST_CASE("quantities are read as people write them") {
  CHECK(parse_duration("90") == 90s);
  CHECK(parse_duration("15m") == 15min);
  CHECK(parse_duration("30d") == 720h);
  for (const char* wrong : {"", "d", "3 d", "-1s", "1.5h", "1w", "99999999999999999999", "40000d", "3dd"})
    CHECK_MESSAGE(!parse_duration(wrong), wrong);
  CHECK(parse_size("17") == 17);
  CHECK(parse_size("50G") == 50'000'000'000);
  for (const char* wrong : {"", "G", "50GB", "-1", "9999999T"}) CHECK_MESSAGE(!parse_size(wrong), wrong);
  CHECK(format_duration(30s) == "30s");
  CHECK(format_duration(36h) == "1.5d");
  CHECK(format_size(31'200'000) == "31.2 MB");
}

TEST_CASE("an image that is too old is removed with what only it needs; the others stay complete") {
  Images images;
  const auto old = images.add("old", {"shared", "only old"});
  const auto document = images.attach(old, "its SBOM");
  images.age(48);
  const auto young = images.add("young", {"shared", "only young"});

  const auto planned = images.collect(older_than(24h), maintenance::Mode::dry_run);
  CHECK(images.has(old));
  const auto done = images.collect(older_than(24h));
  for (const maintenance::Collection& each : {planned, done}) {
    REQUIRE(each.images.size() == 1);
    CHECK(each.images[0].names == std::vector<std::string>{"old:latest"});
    CHECK(each.images[0].reason == DroppedImage::Reason::age);
    CHECK(each.tags == 1);
    CHECK(each.manifests == 2);
    CHECK(each.blobs == 4);  // its layer and its config, the SBOM and its config
    CHECK(each.freed == planned.freed);
    CHECK(each.left == planned.left);
  }
  CHECK_FALSE(images.has(old));
  CHECK_FALSE(images.has(document));
  CHECK_FALSE(images.has_layer("only old"));
  CHECK_FALSE(fs::exists(images.layout.tag("old", "latest").parent_path()));
  CHECK_FALSE(tree::read_record(images.tree.store(), "old", "latest"));
  CHECK(tree::referrers_of(images.tree.store(), old).empty());
  CHECK(images.has(young));
  CHECK(images.has_layer("shared"));
  CHECK(images.tree.digest_of_tag("young", "latest") == young);
  CHECK(test::verify(images.layout, {}).problems.empty());
  CHECK(images.collect(older_than(24h)).images.empty());
}

TEST_CASE("without limits only old unreferenced files are removed") {
  Images images;
  const auto image = images.add("image", {"layer"});
  images.tree.publish_blob("left by a build that was killed");
  images.age(48);
  images.tree.publish_blob("of a build under way");
  const auto done = images.collect({});
  CHECK(done.images.empty());
  CHECK(done.blobs == 1);
  CHECK(done.freed == std::string("left by a build that was killed").size());
  CHECK(images.has(image));
  CHECK(images.has_layer("layer"));
  CHECK(images.has_layer("of a build under way"));
}

TEST_CASE("a tree that is too large loses the least recently used images, and no more than necessary") {
  Images images;
  const std::string big(1000, 'x');
  const auto first = images.add("first", {"1" + big});
  images.age(72);
  const auto second = images.add("second", {"2" + big});
  fs::last_write_time(images.layout.manifest(second, image::MediaType::oci_manifest),
                      fs::file_time_type::clock::now() - 48h);
  const auto third = images.add("third", {"3" + big});
  maintenance::Policy policy;
  policy.max_size = 4'500;
  const auto done = images.collect(policy);
  REQUIRE(done.images.size() == 1);
  CHECK(done.images[0].manifest == first);
  CHECK(done.images[0].reason == DroppedImage::Reason::size);
  CHECK(done.left <= 4'500);
  CHECK(images.has(second));
  // Images within the grace period stay, even if the tree stays too large.
  policy.max_size = 1;
  images.collect(policy);
  CHECK_FALSE(images.has(second));
  CHECK(images.has(third));
}

TEST_CASE("images of a keep rule stay, with their layers") {
  Images images;
  const auto kept = images.add("team/kept", {"a"});
  const auto gone = images.add("other", {"b"});
  images.age(48);
  maintenance::Policy policy = older_than(1h);
  policy.keep = {"team/*"};
  images.collect(policy);
  CHECK(images.has(kept));
  CHECK(images.has_layer("a"));
  CHECK_FALSE(images.has(gone));
  policy.keep = {"team/kept:v2"};
  images.collect(policy);
  CHECK_FALSE(images.has(kept));
}

TEST_CASE("an image is kept by its digest even if its name has moved") {
  Images images;
  const auto pinned = images.add("tool", {"first"});
  const auto document = images.attach(pinned, "SBOM");
  images.add("tool", {"second"});  // `latest` has moved
  const auto member = images.manifest_of({"amd64"}, {}), sibling = images.manifest_of({"arm64"}, {});
  const auto index = images.add_index("both", {member, sibling});
  images.age(24 * 40);
  maintenance::Policy policy = older_than(24h);
  policy.keep = {pinned.str(), member.str()};
  for (int i = 0; i < 2; ++i) images.collect(policy);
  for (const auto& digest : {pinned, document, member}) CHECK(images.has(digest));
  for (const char* layer : {"first", "amd64"}) CHECK(images.has_layer(layer));
  for (const auto& digest : {index, sibling}) CHECK_FALSE(images.has(digest));
  for (const char* layer : {"second", "arm64"}) CHECK_FALSE(images.has_layer(layer));
  policy.keep = {"*", "tool", "tool:latest"};  // rules for names, and it has none
  images.collect(policy);
  CHECK_FALSE(images.has(pinned));
  CHECK_FALSE(images.has(member));
}

TEST_CASE("members are kept with their index, signatures with their subject") {
  Images images;
  const auto amd64 = images.manifest_of({"amd64"}, {});
  const auto arm64 = images.manifest_of({"arm64"}, {});
  const auto index = images.add_index("both", {amd64, arm64});
  const auto signature = images.attach(amd64, "signed");
  images.tree.publish_tag("both", "sha256-" + amd64.hex() + ".sig", signature);
  images.tree.publish_tag("arm64/both", "latest", arm64);
  images.age(48);
  SUBCASE("all at once") {
    CHECK(images.collect(older_than(24h)).images.size() == 2);
    for (const auto& digest : {index, amd64, arm64, signature}) CHECK_FALSE(images.has(digest));
    CHECK(fs::is_empty(images.layout.tree / "tags"));
  }
  SUBCASE("a pull of one member keeps its index, which keeps the other") {
    REQUIRE(images.tree.touch_manifest(amd64));
    CHECK(images.collect(older_than(24h)).images.size() == 1);  // the member's own name
    for (const auto& digest : {index, amd64, arm64, signature}) CHECK(images.has(digest));
    CHECK(images.tree.digest_of_tag("arm64/both", "latest") == arm64);
  }
  SUBCASE("its own name keeps a member without its index") {
    REQUIRE(images.tree.touch_manifest(arm64));
    images.tree.drop_tag("both", "latest");
    const auto done = images.collect(older_than(24h));
    CHECK(images.has(arm64));
  }
}

TEST_CASE("a signature tag is kept as long as its subject, regardless of its age") {
  Images images;
  const auto image = images.add("tool", {"layer"});
  os::Command make;
  make.argv = {"openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout"};
  const auto key = attestations::SigningKey::from_pem(os::run(make).output, "the test's key");
  pipeline::attach_signatures(images.tree, key, "registry.example.org", "tool", image);
  const auto tag = "sha256-" + image.hex() + ".sig";
  const auto signature = *images.tree.digest_of_tag("tool", tag);
  REQUIRE(image::parse_manifest(images.tree.manifest(signature)->bytes, signature).subject == std::nullopt);
  images.age(24 * 40);
  maintenance::Policy policy = older_than(24h);
  SUBCASE("while the image is used") {
    REQUIRE(images.tree.touch_manifest(image));
  }
  SUBCASE("while the image is kept") {
    policy.keep = {"tool:latest"};
  }
  SUBCASE("while the tree is too large") {
    REQUIRE(images.tree.touch_manifest(image));
    policy.max_size = 1;
  }
  for (int i = 0; i < 2; ++i) {
    CHECK(images.collect(policy).images.empty());
    CHECK(images.has(image));
    CHECK(images.tree.digest_of_tag("tool", tag) == signature);
    CHECK(images.has(signature));
    CHECK(tree::referrers_of(images.tree.store(), image).size() == 1);
  }
  images.age(24 * 40);
  const auto done = images.collect(older_than(24h));
  CHECK(done.images.size() == 1);
  CHECK(done.images.front().names == std::vector<std::string>{"tool:latest"});
  CHECK(done.tags == 2);
  CHECK_FALSE(images.has(signature));
  CHECK(done.left == 0);
}

TEST_CASE("the last use comes from the web server's log, also across a rotation, and each line is read once") {
  Images images;
  const auto a = images.add("a", {"a"}), b = images.add("b", {"b"});
  images.age(48);
  const fs::path log = images.dir.path() / "use.log";
  const auto line = [](const image::Digest& digest, os::Time time) {
    return std::to_string(std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count()) + ".123 " +
           digest.str() + "\n";
  };
  const auto seconds = [](os::Time time) { return std::chrono::floor<std::chrono::seconds>(time); };
  const os::Time first = hours_ago(30), second = hours_ago(3), third = hours_ago(2);
  std::ofstream(log) << line(a, first) << "not a line of ours\n" << line(b, hours_ago(20)) << "176400";
  {
    maintenance::LastUse uses(images.tree.store());
    uses.read_log(log);
    CHECK(seconds(uses.of(a)) == seconds(first));
    uses.save();
  }
  // The incomplete line is finished, the log is rotated, and a new one started.
  std::ofstream(log, std::ios::app) << "0000.0 - \n" << line(a, second);
  fs::rename(log, log.string() + ".1");
  std::ofstream(log) << line(b, third);
  maintenance::LastUse uses(images.tree.store());
  CHECK(seconds(uses.of(a)) == seconds(first));
  uses.read_log(log);
  CHECK(seconds(uses.of(a)) == seconds(second));
  CHECK(seconds(uses.of(b)) == seconds(third));
  CHECK(uses.of(image::Digest::of("never pulled")) == os::Time{});

  maintenance::Policy policy = older_than(24h);
  CHECK(maintenance::collect(images.tree.store(), images.layout.local(), policy, log, maintenance::Mode::real)
            .images.empty());
  CHECK(images.has(a));
  CHECK(images.collect(policy).images.empty());  // recorded uses are kept
}

TEST_CASE("the rotated log is read even if it has not been read before") {
  Images images;
  const auto a = images.add("a", {"a"}), b = images.add("b", {"b"});
  images.age(48);
  const fs::path log = images.dir.path() / "use.log", rotated = log.string() + ".1";
  const auto seconds = std::chrono::floor<std::chrono::seconds>(hours_ago(2)).time_since_epoch();
  const auto line = [&](const image::Digest& digest, int later = 0) {
    return std::to_string(seconds.count() + later) + ".123 " + digest.str() + "\n";
  };
  const auto use_of = [&](const image::Digest& digest) {
    return maintenance::LastUse(images.tree.store()).of(digest).time_since_epoch();
  };
  SUBCASE("at the first read") {
    std::ofstream(rotated) << line(a);
    std::ofstream(log) << "";
  }
  SUBCASE("without a new log") {
    std::ofstream(rotated) << line(a);
  }
  SUBCASE("after two rotations") {
    std::ofstream(log) << line(b, -3600 * 40);
    maintenance::record_uses(images.tree.store(), log);
    fs::rename(log, rotated.string() + "0");
    std::ofstream(rotated) << line(a);
    std::ofstream(log) << line(b, 60);
  }
  SUBCASE("if the log was copied and truncated") {
    std::ofstream(log) << line(b);
    maintenance::record_uses(images.tree.store(), log);
    std::ofstream(log, std::ios::app) << line(a);
    fs::copy_file(log, rotated);
    fs::resize_file(log, 0);
  }
  SUBCASE("if the new log has the inode number of the old one") {
    std::ofstream(log) << line(b);
    maintenance::record_uses(images.tree.store(), log);
    std::ofstream(log) << line(a, 60) << line(b, 60);  // the same file to the system
  }
  maintenance::record_uses(images.tree.store(), log);
  CHECK(use_of(a) >= seconds);
  maintenance::collect(images.tree.store(), images.layout.local(), older_than(24h), log, maintenance::Mode::real);
  CHECK(images.has(a));
}

TEST_CASE("files that a build uses are not collected") {
  Images images;
  const auto image = images.add("image", {"layer"});
  images.tree.publish_blob("unreferenced");
  images.age(48);
  SUBCASE("a collection waits for holders of the tree lock") {
    auto hold = std::make_unique<tree::SharedTreeLock>(images.tree.store());
    std::atomic<bool> done{false};
    std::jthread collector([&] {
      images.collect(older_than(24h));
      done = true;
    });
    wait_for([&] { return done || waits_to_be_alone(images); });
    REQUIRE_FALSE(done);
    // It has listed them with their old times.
    CHECK(images.tree.publish_blob("unreferenced") == image::Digest::of("unreferenced"));
    REQUIRE(images.tree.touch_manifest(image));
    CHECK_FALSE(done);
    hold.reset();
    collector.join();
    CHECK(images.has(image));
    CHECK(images.has_layer("unreferenced"));
  }
  SUBCASE("an image that is published while a collection waits is complete, even with old times") {
    auto hold = std::make_unique<tree::SharedTreeLock>(images.tree.store());
    const std::string config = Images::config_of({"late layer"});
    for (const std::string& bytes : {std::string("late layer"), config}) images.tree.publish_blob(bytes);
    images.age(48);
    std::jthread collector([&] {
      maintenance::Policy policy = older_than(24h * 365);
      policy.grace = 0s;
      images.collect(policy);
    });
    wait_for([&] { return waits_to_be_alone(images); });
    // Published like add(), but existing files are not touched: that was done before the collection started.
    Images made;
    const auto late = made.add("late", {"late layer"});
    const auto file = made.layout.manifest(late, image::MediaType::oci_manifest);
    os::make_directories(images.layout.manifest_dir(late));
    fs::copy_file(file, images.layout.manifest(late, image::MediaType::oci_manifest));
    tree::write_record(images.tree.store(), {"late", "latest", "r", false, late.str()});
    images.tree.publish_tag("late", "latest", late);
    hold.reset();
    collector.join();
    CHECK(images.has(late));
    CHECK(images.has_layer("late layer"));
    CHECK(images.has_layer(config));
    CHECK(images.tree.digest_of_tag("late", "latest") == late);
    CHECK(test::verify(images.layout, {}).problems.empty());
  }
  SUBCASE("shared locks exclude an exclusive one, and the reverse") {
    const tree::SharedTreeLock first(images.tree.store());
    std::jthread([&] { const tree::SharedTreeLock second(images.tree.store()); }).join();
  }
  SUBCASE("one at a time") {
    const os::Lock other(images.layout.lock("upkeep"));
    CHECK_THROWS_WITH(images.collect({}), doctest::Contains("another `nixery gc`"));
    CHECK_THROWS_WITH(test::verify(images.layout, {}), doctest::Contains("another `nixery gc`"));
  }
}

TEST_CASE("a manifest that was touched since it was listed stays") {
  Images images;
  const auto image = images.add("image", {"layer"}), member = images.manifest_of({"of an index to come"}, {});
  images.age(48);
  maintenance::Inventory inventory = maintenance::list_files(images.tree.store());
  maintenance::read_links(images.tree.store(), inventory);
  const auto never = [](const image::Digest&) { return os::Time{}; };
  CHECK(maintenance::select(inventory, never, older_than(24h), hours_ago(0)).manifests.size() == 2);
  for (const auto& digest : {image, member}) inventory.manifests[*inventory.manifest(digest)].is_touched = true;
  const auto selection = maintenance::select(inventory, never, older_than(24h), hours_ago(0));
  CHECK(selection.manifests.empty());
  CHECK(selection.blobs.empty());
  CHECK(selection.tags.empty());
}

TEST_CASE("the state follows the tree") {
  Images images;
  const auto& layout = images.layout;
  const auto old = images.add("old", {"layer"});
  const auto other = std::string(64, '7');
  os::make_directories(layout.local().gc_roots(other));
  os::make_directories(layout.image(other).parent_path());
  os::write_file(layout.image(other), old.hex());
  for (const auto& file : {layout.group(other), layout.segment(other)}) {
    os::make_directories(file.parent_path());
    os::write_file(file, image::Digest::of("layer").hex() + " 5 end\n");
  }
  for (const auto& file : {layout.lock(other), layout.local().log(other), layout.recipe(image::Digest::of("layer"))}) {
    os::make_directories(file.parent_path());
    os::write_file(file, "x");
  }
  os::write_file(layout.incoming() / ".tmp-1-2-3", "half");
  const os::Lock held(layout.lock(std::string(64, '8')));
  images.age(24 * 20);
  images.add("young", {"young"});
  const auto planned = images.collect(older_than(24h), maintenance::Mode::dry_run);
  const auto done = images.collect(older_than(24h));
  CHECK(done.state_files == 8);
  CHECK(planned.state_files == 9);  // a held lock is only detected by trying to lock it
  for (const auto& file : {layout.image(other), layout.group(other), layout.segment(other), layout.lock(other),
                           layout.local().log(other), layout.local().gc_roots(other), layout.incoming() / ".tmp-1-2-3",
                           layout.original(image::Digest::of(Images::config_of({"layer"})))})
    CHECK_MESSAGE(!fs::exists(file), file.string());
  CHECK(fs::exists(layout.lock(std::string(64, '8'))));
  CHECK(fs::exists(layout.recipe(image::Digest::of("layer"))));  // kept for a while, to rebuild the layer
}

TEST_CASE("partial files of a killed process are collected everywhere") {
  Images images;
  const auto& layout = images.layout;
  images.add("team/there", {"layer"});
  const std::string commit(40, 'c'), other(40, 'd');
  const fs::path channel = layout.local().sources() / "channel", git = layout.local().sources() / "git-x";
  const std::vector<fs::path> files{layout.tag("team/gone", ".tmp-1-2-3"),
                                    layout.tag("team/there", ".tmp-1-2-4"),
                                    layout.record("team/gone", "x").parent_path() / ".tmp-1-2-3",
                                    channel / ".tmp-1-2-3",
                                    channel / (commit + ".partial") / "default.nix",
                                    channel / (commit + ".lock"),
                                    channel / (other + ".lock"),
                                    git / "partial" / "index"};
  const auto write_all = [&] {
    for (const fs::path& file : files) {
      os::make_directories(file.parent_path());
      if (file.parent_path().filename() == "_tags" && file.string().starts_with(layout.tree.string())) {
        fs::create_symlink("../../../manifests/sha256/x", file);
      } else {
        os::write_file(file, "half");
      }
    }
    // An existing revision, and the lock of a mirror.
    os::make_directories(channel / other / "source");
    os::write_file(git / "mirror.lock", "");
  };
  write_all();
  CHECK(images.collect({}).state_files == 0);
  for (const fs::path& file : files)
    CHECK_MESSAGE(fs::symlink_status(file).type() != fs::file_type::not_found, file.string());
  images.age(25);
  SUBCASE("when it is old") {
    CHECK(images.collect({}, maintenance::Mode::dry_run).state_files == files.size());
    CHECK(images.collect({}).state_files == files.size());
    for (const fs::path& file : files)
      CHECK_MESSAGE(fs::symlink_status(file).type() == fs::file_type::not_found, file.string());
    CHECK_FALSE(fs::exists(layout.tree / "tags/team/gone"));
    CHECK_FALSE(fs::exists(layout.records() / "team/gone"));
    CHECK(images.tree.digest_of_tag("team/there", "latest"));
    CHECK(tree::read_record(images.tree.store(), "team/there", "latest"));
    for (const fs::path& file : {channel / other / "source", git / "mirror.lock"})
      CHECK_MESSAGE(fs::exists(file), file.string());
  }
  SUBCASE("but not a held lock") {
    const os::Lock held(channel / (commit + ".lock"));
    images.collect({});
    CHECK(fs::exists(channel / (commit + ".lock")));
  }
}

TEST_CASE("directories of names whose tags were dropped are removed once they are old") {
  Images images;
  const auto& layout = images.layout;
  images.add("team/there", {"layer"});
  images.add("team/sub/dropped", {"layer"});
  const auto record = tree::read_record(images.tree.store(), "team/sub/dropped", "latest");
  REQUIRE(record);
  images.tree.drop_tag("team/sub/dropped", "latest");
  tree::remove_record(images.tree.store(), record->repository, record->tag);
  CHECK(images.collect({}).state_files == 0);
  images.age(25);
  CHECK(images.collect({}, maintenance::Mode::dry_run).state_files == 2);
  CHECK(images.collect({}).state_files == 2);
  for (const fs::path& root : {layout.tree / "tags", layout.records()}) {
    CHECK_FALSE(fs::exists(root / "team/sub"));
    CHECK(fs::exists(root / "team/there/_tags"));
  }
}

TEST_CASE("a thousand read positions in logs of pulls are kept") {
  Images images;
  const auto& layout = images.layout;
  std::string uses;
  for (int i = 0; i < 1200; ++i) uses += "log " + image::Digest::of(std::to_string(i)).hex() + " 1 - 0\n";
  os::write_file(layout.uses(), uses + "end\n");
  const fs::path log = images.dir.path() / "use.log";
  const auto image = image::Digest::of("image");
  std::ofstream(log) << "1764000000.123 " << image.str() << "\n";
  maintenance::record_uses(images.tree.store(), log);
  const std::string kept = *os::read_if_exists(layout.uses());
  CHECK(std::count(kept.begin(), kept.end(), '\n') == 1000 + 2);
  // Its own position is among them: nothing is read again.
  maintenance::LastUse known(images.tree.store());
  known.forget([](const auto&) { return true; });
  known.read_log(log);
  CHECK(known.of(image) == os::Time{});
}

TEST_CASE("lists of referrers whose subject is gone are removed once they are old") {
  Images images;
  const auto image = images.add("image", {"layer"});
  images.attach(image, "SBOM");
  const auto list = [&](const image::Digest& subject) { return images.layout.referrers_dir(subject); };
  const auto gone = image::Digest::of("gone");
  fs::copy(list(image), list(gone), fs::copy_options::recursive);
  CHECK(images.collect({}).state_files == 0);
  images.age(25);
  CHECK(images.collect({}, maintenance::Mode::dry_run).state_files == 1);
  CHECK(images.collect({}).state_files == 1);
  CHECK_FALSE(fs::exists(list(gone)));
  CHECK(tree::referrers_of(images.tree.store(), image).size() == 1);
}

TEST_CASE("a lock whose file was removed is not shared with later processes") {
  const test::TemporaryDirectory dir;
  const fs::path path = dir.path() / "x.lock";
  { const os::Lock lock(path); }
  CHECK(os::drop_free_lock(path));
  CHECK_FALSE(fs::exists(path));
  std::optional<os::Lock> first(std::in_place, path);
  CHECK_FALSE(os::drop_free_lock(path));
  CHECK_FALSE(os::Lock::try_lock(path));
  fs::remove(path);  // like drop_free_lock() while it has the lock
  const auto second = os::Lock::try_lock(path);
  REQUIRE(second);  // of the next file of that name
  first.reset();
  CHECK(fs::exists(path));
  CHECK_FALSE(os::Lock::try_lock(path));
}

TEST_CASE("what can bring back a blob that an image has lost stays, however old it is") {
  Images images;
  const auto& layout = images.layout;
  images.add("image", {"layer"});
  const auto config = image::Digest::of(Images::config_of({"layer"}));
  images.age(24 * 60);
  fs::remove(layout.blob(config));
  images.collect({});
  CHECK(images.tree.restore_blob(config));
  images.age(24 * 60);
  images.collect(older_than(1h));
  CHECK_FALSE(images.tree.can_restore_blob(config));  // nor does it stay longer than the image
}
