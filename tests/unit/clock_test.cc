// Collections with clocks that jump, and files with times from such clocks.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

#include "images.h"
#include "maintenance/last_run.h"
#include "maintenance/last_use.h"

using namespace nixery;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using maintenance::DroppedImage;
using test::hours_ago;
using test::Images;
using test::older_than;

namespace {

constexpr int day = 24, year = 365 * day;  // hours

maintenance::Policy smaller_than(std::uint64_t bytes) {
  maintenance::Policy policy;
  policy.max_size = bytes;
  return policy;
}

void write_use(const fs::path& log, const image::Digest& manifest, int hours_ago_used) {
  const auto time = std::chrono::floor<std::chrono::seconds>(hours_ago(hours_ago_used)).time_since_epoch();
  std::ofstream(log, std::ios::app) << time.count() << ".123 " << manifest.str() << "\n";
}

// As if that many hours passed.
void wait(Images& images, int hours) {
  images.age(hours);
  auto last = *maintenance::last_run(images.tree.store());
  last.time -= std::chrono::hours(hours);
  last.since_boot -= std::chrono::hours(hours);
  maintenance::remember(images.tree.store(), last);
}

}  // namespace

TEST_CASE("a clock jump makes nothing old at once") {
  Images images;
  const auto image = images.add("image", {"layer"});
  images.collect({});
  images.age(24 * 400);
  os::write_file(
      images.layout.state / "collected",
      std::to_string(std::chrono::floor<std::chrono::seconds>(hours_ago(24 * 399)).time_since_epoch().count()));
  for (int i = 0; i < 2; ++i) {
    CHECK(images.collect(older_than(24h)).clock_jumped);
    CHECK(images.has(image));
  }
  auto last = *maintenance::last_run(images.tree.store());
  last.time -= 25h;
  last.since_boot -= 25h;
  maintenance::remember(images.tree.store(), last);
  CHECK_FALSE(images.collect(older_than(24h)).clock_jumped);
  CHECK_FALSE(images.has(image));
}

TEST_CASE("elapsed time is believed, a changed clock is not") {
  const auto run = [](int hours, const std::string& boot, int boot_hours) {
    return maintenance::Run{hours_ago(hours), boot, std::chrono::hours(boot_hours), true, {}};
  };
  const auto is_believed = [](const maintenance::Run& last, maintenance::Run now, std::vector<os::Time> traces) {
    maintenance::judge(now, last, std::move(traces));
    return now.believed;
  };
  constexpr int month = 30 * 24;
  SUBCASE("within one boot, by the boot-time clock") {
    CHECK(is_believed(run(month, "a", 5), run(0, "a", 5 + month), {}));
    CHECK(is_believed(run(month, "a", 5), run(0, "a", 5 + month - 24), {}));
    CHECK_FALSE(is_believed(run(month, "a", 5), run(0, "a", 6), {}));
    CHECK_FALSE(is_believed(run(0, "a", 5), run(1, "a", 6), {}));
  }
  SUBCASE("up to a week, with a delay") {
    CHECK(is_believed(run(7 * 24 + 5, "a", 5), run(0, "b", 1), {}));
    CHECK_FALSE(is_believed(run(month, "a", 5), run(0, "b", 1), {}));
    CHECK_FALSE(is_believed(run(month, "", 0), run(0, "", 0), {}));
  }
  SUBCASE("after a reboot, by recorded activity") {
    std::vector<os::Time> traces{hours_ago(6 * 24), hours_ago(27 * 24), hours_ago(13 * 24), hours_ago(20 * 24)};
    CHECK(is_believed(run(month, "a", 5), run(0, "b", 1), traces));
    traces[2] = hours_ago(40 * 24);
    CHECK_FALSE(is_believed(run(month, "a", 5), run(0, "b", 1), traces));
    // Activity after the clock jump proves nothing about the time before.
    CHECK_FALSE(is_believed(run(month, "a", 5), run(0, "b", 1), {hours_ago(1), hours_ago(0)}));
  }
  SUBCASE("doubted once, believed the next time") {
    maintenance::Run doubted = run(month, "a", 5);
    doubted.believed = false;
    CHECK(is_believed(doubted, run(0, "b", 1), {}));
    CHECK_FALSE(is_believed(doubted, run(0, "a", 6), {}));  // but here the boot-time clock shows the jump
    doubted.time = hours_ago(0);
    CHECK_FALSE(is_believed(doubted, run(month, "a", 6), {}));
  }
  SUBCASE("after a jump, a clock is believed when it has run for a day, regardless of the number of checks") {
    maintenance::Run last = run(0, "a", 100);
    const auto collect_at = [&](int hours_later, int boot_hours) {
      maintenance::Run now = run(-hours_later, "a", boot_hours);
      maintenance::judge(now, last, {hours_ago(1 - hours_later)});  // a pull now proves nothing about the year before
      last = now;
      return now.believed;
    };
    CHECK_FALSE(collect_at(year, 101));
    for (int hour = 1; hour < 24; ++hour) CHECK_FALSE(collect_at(year + hour, 101 + hour));
    SUBCASE("which was right") {
      CHECK(collect_at(year + 24, 125));
    }
    SUBCASE("and again after another jump, such as back") {
      CHECK_FALSE(collect_at(25, 125));
      CHECK_FALSE(collect_at(48, 148));
      CHECK(collect_at(49, 149));
      CHECK(collect_at(50, 150));
    }
    SUBCASE("also if the machine reboots meanwhile") {
      last.boot = "b";
      CHECK(collect_at(year + 24, 1));
    }
  }
}

TEST_CASE("collections far apart collect") {
  Images images;
  const auto& layout = images.layout;
  const auto image = images.add("image", {"layer"});
  images.collect({});
  images.age(24 * 400);
  auto last = *maintenance::last_run(images.tree.store());
  CHECK(last.boot == maintenance::this_run().boot);
  CHECK(last.believed);
  last.time -= 24h * 30;
  SUBCASE("while the machine kept running") {
    last.since_boot -= 24h * 30;
    maintenance::remember(images.tree.store(), last);
    CHECK_FALSE(images.collect(older_than(24h)).clock_jumped);
    CHECK_FALSE(images.has(image));
  }
  SUBCASE("after a reboot, with pulls in between") {
    last.boot = "another";
    maintenance::remember(images.tree.store(), last);
    const fs::path log = images.dir.path() / "use.log";
    std::ofstream lines(log);
    for (int days = 28; days > 0; days -= 7) {
      const auto digest = images.manifest_of({"layer " + std::to_string(days)}, {});
      const auto time = std::chrono::floor<std::chrono::seconds>(hours_ago(24 * days)).time_since_epoch();
      lines << time.count() << ".123 " << digest.str() << "\n";
    }
    lines.close();
    CHECK_FALSE(maintenance::collect(images.tree.store(), layout.local(), older_than(24h), log, maintenance::Mode::real)
                    .clock_jumped);
    CHECK_FALSE(images.has(image));
  }
  SUBCASE("without evidence, at the second run") {
    last.boot = "another";
    maintenance::remember(images.tree.store(), last);
    CHECK(images.collect(older_than(24h)).clock_jumped);
    CHECK(images.has(image));
    last = *maintenance::last_run(images.tree.store());
    CHECK_FALSE(last.believed);
    last.time -= 24h * 30;
    last.boot = "third";
    maintenance::remember(images.tree.store(), last);
    CHECK_FALSE(images.collect(older_than(24h)).clock_jumped);
    CHECK_FALSE(images.has(image));
  }
}

TEST_CASE("the next collection is due even if processes restart all the time") {
  Images images;
  const auto& layout = images.layout;
  CHECK(maintenance::until_next_run(images.tree.store(), 24h) == 24h);  // counts from now
  auto first = maintenance::last_run(images.tree.store());
  REQUIRE(first);
  first->time -= 10h;
  maintenance::remember(images.tree.store(), *first);
  const auto left = maintenance::until_next_run(images.tree.store(), 24h);
  CHECK(left <= 14h);
  CHECK(left > 13h);
  first->time -= 20h;
  maintenance::remember(images.tree.store(), *first);
  CHECK(maintenance::until_next_run(images.tree.store(), 24h) == 0s);
  first->time += 24h * 365;
  maintenance::remember(images.tree.store(), *first);
  CHECK(maintenance::until_next_run(images.tree.store(), 24h) == 24h);
  first = maintenance::last_run(images.tree.store());
  CHECK(first->time <= hours_ago(0));  // so that it need not wait for a year
  CHECK_FALSE(first->believed);
  os::write_file(layout.state / "collected", "torn");
  CHECK(maintenance::until_next_run(images.tree.store(), 24h) == 24h);
  CHECK(maintenance::last_run(images.tree.store()));
}

TEST_CASE("an image that was built in the future is young when it is first seen, and grows old") {
  Images images;
  const auto present = images.add("present", {"1"}), future = images.add("future", {"2"});
  images.collect({});
  images.age(-2 * year);
  for (const maintenance::Policy& policy : {older_than(24h), smaller_than(1)}) {
    // Neither run may remove it, because it may have just been built or pulled.
    CHECK(images.collect(policy, maintenance::Mode::dry_run).images.empty());
    CHECK(images.collect(policy).images.empty());
  }
  for (const auto& digest : {present, future}) {
    const auto file = images.layout.manifest(digest, image::MediaType::oci_manifest);
    CHECK(os::status_of(file)->modified <= hours_ago(0));
  }
  wait(images, 48);
  SUBCASE("for a collection by age") {
    const auto done = images.collect(older_than(24h));
    CHECK(done.images.size() == 2);
    CHECK(done.left == 0);
  }
  SUBCASE("for a collection by size") {
    const auto done = images.collect(smaller_than(1));
    CHECK(done.images.size() == 2);
    CHECK(done.left == 0);
  }
}

TEST_CASE("a dry run changes no time in the future") {
  Images images;
  const auto image = images.add("image", {"layer"});
  images.collect({});
  images.age(-year);
  const auto file = images.layout.manifest(image, image::MediaType::oci_manifest);
  const auto before = os::status_of(file)->modified;
  images.collect(older_than(24h), maintenance::Mode::dry_run);
  CHECK(os::status_of(file)->modified == before);
}

TEST_CASE("a pull in the future counts as one of the first collection that sees it") {
  Images images;
  const auto& layout = images.layout;
  const auto image = images.add("image", {"layer"});
  const fs::path log = images.dir.path() / "use.log";
  const auto collect = [&] {
    return maintenance::collect(images.tree.store(), layout.local(), older_than(24h), log, maintenance::Mode::real);
  };
  collect();
  write_use(log, image, -year);
  maintenance::record_uses(images.tree.store(), log);  // like a worker, which does not judge its clock
  CHECK(maintenance::LastUse(images.tree.store()).of(image) > hours_ago(-year + day));
  images.age(48);
  CHECK(collect().images.empty());
  CHECK(maintenance::LastUse(images.tree.store()).of(image) <= hours_ago(0));
  CHECK(images.has(image));
  fs::remove(log);
  maintenance::LastUse uses(images.tree.store());
  uses.reset_future(hours_ago(48));  // as if that had been two days ago
  uses.save();
  images.age(48);
  CHECK(collect().images.size() == 1);
}

TEST_CASE("a use with an impossible time is ignored") {
  Images images;
  const auto image = images.add("image", {"layer"});
  const fs::path log = images.dir.path() / "use.log";
  std::ofstream(log) << "9223372036854775807.123 " << image.str() << "\n-5 " << image.str() << "\n";
  maintenance::LastUse uses(images.tree.store());
  uses.read_log(log);
  CHECK(uses.of(image) == os::Time{});
}

TEST_CASE("a collection with a wrong clock resets no times and removes nothing by age") {
  Images images;
  const auto& layout = images.layout;
  const auto image = images.add("image", {"layer"});
  const std::string key(64, 'a');
  for (const fs::path& file : {layout.local().log(key), layout.incoming() / ".tmp-1-2-3",
                               layout.local().sources() / "channel" / std::string(40, 'c') / "source/default.nix"}) {
    os::make_directories(file.parent_path());
    os::write_file(file, "x");
  }
  images.collect({});
  const auto file = layout.manifest(image, image::MediaType::oci_manifest);
  auto last = *maintenance::last_run(images.tree.store());
  SUBCASE("a year back") {
    images.age(-year);
    last.time += std::chrono::hours(year);
  }
  SUBCASE("a year ahead") {
    images.age(year);
    last.time -= std::chrono::hours(year);
  }
  maintenance::remember(images.tree.store(), last);
  const auto before = os::status_of(file)->modified;
  const auto done = images.collect(older_than(24h));
  CHECK(done.clock_jumped);
  CHECK(done.images.empty());
  CHECK(done.state_files == 0);
  CHECK(os::status_of(file)->modified == before);
}

TEST_CASE("files in STATE with future times are removed when they have existed for long") {
  Images images;
  const auto& layout = images.layout;
  const std::vector<fs::path> files{layout.local().log(std::string(64, 'a')), layout.incoming() / ".tmp-1-2-3",
                                    layout.state / "attributes" / std::string(64, 'b'),
                                    layout.tag("team/gone", ".tmp-1-2-3")};
  for (const fs::path& file : files) {
    os::make_directories(file.parent_path());
    os::write_file(file, "x");
  }
  fs::create_symlink(layout.tag_target("gone", image::Digest::of("gone")), layout.tag("team/gone", "latest"));
  images.collect({});
  images.age(-2 * year);
  CHECK(images.collect({}).state_files == 0);
  wait(images, 40 * day);
  const auto done = images.collect({});
  CHECK(done.state_files == files.size());
  CHECK(done.tags == 1);
  for (const fs::path& file : files) CHECK_MESSAGE(!fs::exists(file), file.string());
}
