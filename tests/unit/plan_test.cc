#include "plan/plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "plan/popularity.h"

namespace {

using namespace nixery;
using plan::Layer;
using plan::plan_layers;
using plan::Settings;

constexpr std::uint64_t kib = 1 << 10;
constexpr std::uint64_t mib = 1 << 20;

struct Package {
  std::string name;
  std::uint64_t size;
  std::vector<std::string> needs;
};

// Another salt gives other hashes, and with them another order in the closure.
store::StorePath store_path(const std::string& name, std::uint64_t salt) {
  constexpr std::string_view base32 = "0123456789abcdfghijklmnpqrsvwxyz";
  std::uint64_t state = salt * 0x9e3779b97f4a7c15u;
  for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  std::string hash;
  for (int i = 0; i < 32; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    hash += base32[state >> 59];
  }
  return store::StorePath::parse("/nix/store/" + hash + "-" + name).value();
}

store::Closure make_closure(const std::vector<Package>& packages, std::uint64_t salt = 1) {
  store::Closure closure;
  for (const Package& package : packages)
    closure.paths.push_back({store_path(package.name, salt), std::string(64, '0'), package.size, {}});
  const auto by_path = [](const store::PathInfo& a, const store::PathInfo& b) { return a.path < b.path; };
  std::sort(closure.paths.begin(), closure.paths.end(), by_path);
  const auto index_of = [&](const std::string& name) {
    const auto at = std::find_if(closure.paths.begin(), closure.paths.end(),
                                 [&](const store::PathInfo& info) { return info.path.name() == name; });
    REQUIRE(at != closure.paths.end());
    return static_cast<std::uint32_t>(at - closure.paths.begin());
  };
  for (const Package& package : packages) {
    auto& references = closure.paths[index_of(package.name)].references;
    for (const std::string& needed : package.needs) references.push_back(index_of(needed));
    std::sort(references.begin(), references.end());
  }
  return closure;
}

using Names = std::set<std::string>;

std::vector<Names> names_of(const store::Closure& closure, const std::vector<Layer>& layers) {
  std::vector<Names> names;
  for (const Layer& layer : layers) {
    names.emplace_back();
    for (const auto path : layer.paths) names.back().insert(std::string(closure.paths[path].path.name()));
  }
  return names;
}

std::vector<Names> plan_names(const std::vector<Package>& packages, const Settings& settings = {},
                              std::uint64_t salt = 1) {
  const store::Closure closure = make_closure(packages, salt);
  return names_of(closure, plan_layers(closure, settings));
}

bool has(const std::vector<Names>& layers, const Names& layer) {
  return std::find(layers.begin(), layers.end(), layer) != layers.end();
}

std::size_t count_new(const std::vector<Names>& layers, const std::vector<Names>& held) {
  return static_cast<std::size_t>(
      std::count_if(layers.begin(), layers.end(), [&](const Names& layer) { return !has(held, layer); }));
}

Settings at_most(unsigned layers) {
  Settings settings;
  settings.max_layers = layers;
  return settings;
}

void check_sound(const store::Closure& closure, const std::vector<Layer>& layers, const Settings& settings) {
  std::vector<int> times(closure.paths.size());
  std::size_t slight = 0;
  CHECK(layers.size() <= std::max(settings.max_layers, 1u));
  for (const Layer& layer : layers) {
    std::uint64_t size = 0;
    for (const auto path : layer.paths) {
      REQUIRE(path < closure.paths.size());
      ++times[path];
      size += closure.paths[path].nar_size;
    }
    CHECK(!layer.paths.empty());
    CHECK(std::is_sorted(layer.paths.begin(), layer.paths.end()));
    CHECK(layer.nar_size == size);
    CHECK(!layer.reason.empty());
    if (size < 128 * kib) ++slight;
  }
  CHECK(std::count(times.begin(), times.end(), 1) == static_cast<std::ptrdiff_t>(times.size()));
  CHECK(slight <= 1);  // at most the left-over layer
  const auto left_over =
      std::count_if(layers.begin(), layers.end(), [](const Layer& layer) { return layer.left_over; });
  if (layers.size() == settings.max_layers) CHECK(left_over > 0);
}

// Sizes from nothing to 64 MiB, most of them small; references to earlier packages, recent ones more often.
std::vector<Package> random_packages(std::uint32_t seed, std::size_t count) {
  // The engine's numbers are the same on every platform; those of the standard distributions are not.
  auto dice = [engine = std::mt19937(seed)]() mutable { return static_cast<std::uint32_t>(engine()); };
  std::vector<Package> packages;
  for (std::size_t i = 0; i < count; ++i) {
    const unsigned bits = 6 + dice() % 21;
    Package package{"p" + std::to_string(i) + "-1." + std::to_string(dice() % 9), dice() % (1u << bits), {}};
    if (i > 0) {
      std::set<std::size_t> needs;
      for (unsigned n = dice() % 6; n > 0; --n)
        needs.insert(dice() % 2 ? dice() % i : i - 1 - dice() % std::min<std::size_t>(i, 10));
      for (const std::size_t needed : needs) package.needs.push_back(packages[needed].name);
    }
    packages.push_back(std::move(package));
  }
  return packages;
}

// The common part of a package set's small images.
const std::vector<Package> base = {
    {"glibc-2.36", 30 * mib, {}},
    {"zlib-1.2.13", 120 * kib, {"glibc-2.36"}},
    {"openssl-3.0.11", 6 * mib, {"glibc-2.36", "zlib-1.2.13"}},
    {"keyutils-1.6", 40 * kib, {"glibc-2.36"}},
    {"krb5-1.20", 1100 * kib, {"keyutils-1.6", "openssl-3.0.11"}},
    {"libidn2-2.3.4", 300 * kib, {"libunistring-1.1"}},
    {"libunistring-1.1", 1800 * kib, {"glibc-2.36"}},
    {"libpsl-0.21", 500 * kib, {"libidn2-2.3.4"}},
    {"nghttp2-1.52-lib", 200 * kib, {"glibc-2.36"}},
    {"curl-8.4.0", 700 * kib, {"krb5-1.20", "libpsl-0.21", "nghttp2-1.52-lib"}},
};

std::vector<Package> operator+(std::vector<Package> packages, const std::vector<Package>& more) {
  packages.insert(packages.end(), more.begin(), more.end());
  return packages;
}

}  // namespace

TEST_CASE("plan: every path is in exactly one layer, for any closure and limit") {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    const store::Closure closure = make_closure(random_packages(seed, 1 + seed * seed % 250), seed);
    for (const unsigned most : {1u, 2u, 3u, 10u, 20u, 29u, 30u, 100u, 125u}) {
      Settings settings;
      settings.max_layers = most;
      CAPTURE(seed);
      CAPTURE(most);
      check_sound(closure, plan_layers(closure, settings), settings);
    }
  }
}

TEST_CASE("plan: extreme settings and sizes") {
  const store::Closure closure = make_closure(random_packages(7, 120));
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX}) {
    Settings settings = at_most(5);
    settings.unit_size = size;
    std::size_t paths = 0;
    for (const Layer& layer : plan_layers(closure, settings)) paths += layer.paths.size();
    CHECK(paths == 120);
  }
  Settings none;
  none.max_layers = 0;  // taken as 1
  CHECK(plan_layers(closure, none).size() == 1);
  CHECK(plan_layers({}, {}).empty());
  CHECK(plan_names({{"nothing", 0, {}}}) == std::vector<Names>{{"nothing"}});
  CHECK(plan_names({{"hello-2.12", 200 * kib, {}}}) == std::vector<Names>{{"hello-2.12"}});
}

TEST_CASE("plan: a small graph, in full") {
  const store::Closure closure = make_closure(base);
  const auto layers = plan_layers(closure, {});
  // Paths with few dependencies come first.
  CHECK(names_of(closure, layers) == std::vector<Names>{{"glibc-2.36"},
                                                        {"libunistring-1.1"},
                                                        {"keyutils-1.6", "nghttp2-1.52-lib", "zlib-1.2.13"},
                                                        {"libidn2-2.3.4"},
                                                        {"openssl-3.0.11"},
                                                        {"libpsl-0.21"},
                                                        {"krb5-1.20"},
                                                        {"curl-8.4.0"}});
  CHECK(layers[0].reason == "alone: 31 MB");
  CHECK(layers[1].reason == "alone: 1.8 MB");
  CHECK(layers[2].reason == "3 paths that curl-8.4.0 needs: 0.4 MB");

  const auto few = plan_layers(closure, at_most(20));
  CHECK(names_of(closure, few) == std::vector<Names>{{"glibc-2.36"},
                                                     {"libidn2-2.3.4", "libunistring-1.1"},
                                                     {"openssl-3.0.11"},
                                                     {"curl-8.4.0", "keyutils-1.6", "krb5-1.20", "libpsl-0.21",
                                                      "nghttp2-1.52-lib", "zlib-1.2.13"}});
  CHECK(few[1].reason == "libidn2-2.3.4 with 1 path that it needs: 2.2 MB");
  CHECK(few[3].reason == "curl-8.4.0 with 5 paths that it needs: 2.7 MB");
}

TEST_CASE("plan: hashes move no path") {
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    const auto packages = random_packages(seed, 150);
    Settings settings;
    settings.max_layers = 20;
    const auto first = plan_names(packages, settings, 1);
    for (const std::uint64_t salt : {2u, 3u}) CHECK(plan_names(packages, settings, salt) == first);
  }
}

TEST_CASE("plan: the order of the closure's paths and references moves no path") {
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    const auto packages = random_packages(seed, 300);
    auto shuffled = packages;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(seed));
    for (Package& package : shuffled) std::reverse(package.needs.begin(), package.needs.end());
    for (const unsigned most : {20u, 100u})
      CHECK(plan_names(packages, at_most(most)) == plan_names(shuffled, at_most(most)));
  }
}

TEST_CASE("plan: a new version of one path changes the one layer that holds it") {
  auto packages = base;
  const auto before = plan_names(packages);
  for (Package& package : packages) {
    if (package.name == "openssl-3.0.11") package.name = "openssl-3.0.12";
    std::replace(package.needs.begin(), package.needs.end(), std::string("openssl-3.0.11"),
                 std::string("openssl-3.0.12"));
  }
  const auto after = plan_names(packages);
  REQUIRE(after.size() == before.size());
  CHECK(count_new(after, before) == 1);
}

TEST_CASE("plan: a path that grows by some percent changes no other layer, nearly always") {
  // A path just above a bound may fall below it, and then its neighbours move with it.
  for (const unsigned most : {2u, 20u, 100u, 125u}) {
    std::size_t changed = 0, plans = 0;
    for (std::uint32_t seed = 1; seed <= 8; ++seed) {
      auto packages = random_packages(seed, 150);
      const auto before = plan_names(packages, at_most(most));
      for (std::size_t i = 5; i < packages.size(); i += 10) {
        const std::uint64_t size = packages[i].size;
        packages[i].size += size / 40;
        changed += count_new(plan_names(packages, at_most(most)), before);
        packages[i].size = size;
        ++plans;
      }
    }
    CAPTURE(most);
    CAPTURE(changed);
    CHECK(10 * changed <= 3 * plans);  // layers, besides the path's own
  }
}

TEST_CASE("plan: one package more leaves the other layers unchanged") {
  const auto small = plan_names(base);
  const auto large = plan_names(
      base + std::vector<Package>{{"libonig-6.9", 600 * kib, {"glibc-2.36"}}, {"jq-1.6", 1000 * kib, {"libonig-6.9"}}});
  for (const Names& layer : small) CHECK(has(large, layer));
  CHECK(large.size() == small.size() + 2);

  for (const unsigned most : {20u, 100u, 125u})
    for (std::uint32_t seed = 1; seed <= 20; ++seed) {
      auto packages = random_packages(seed, 80);
      const auto before = plan_names(packages, at_most(most));
      packages.push_back({"extra-1.0", 3 * mib, {packages[seed].name, packages[40].name}});
      const auto after = plan_names(packages, at_most(most));
      CAPTURE(seed);
      CAPTURE(most);
      // Its own layer, a bundle that it heads, and the left-over layer; also the layer that it replaces.
      CHECK(count_new(after, before) <= (most == 20 ? 4 : 3));
    }
}

TEST_CASE("plan: one package more also leaves most left-over layers unchanged") {
  // So many paths make more groups than layers.
  for (const std::size_t count : {500u, 1000u}) {
    std::size_t by_leaf = 0, by_growth = 0, by_removal = 0;
    constexpr std::uint32_t seeds = 5;
    for (std::uint32_t seed = 1; seed <= seeds; ++seed) {
      CAPTURE(count);
      CAPTURE(seed);
      const auto packages = random_packages(seed, count);
      const auto before = plan_names(packages, at_most(100));
      const auto changed_by = [&](const std::vector<Package>& changed) {
        return count_new(plan_names(changed, at_most(100)), before);
      };
      const std::size_t chosen = 37 * seed;
      for (const std::vector<std::string>& needs : std::vector<std::vector<std::string>>{{}, {packages[chosen].name}}) {
        const std::size_t changed = changed_by(packages + std::vector<Package>{{"extra-1.0", 3 * mib, needs}});
        // Its own layer, the replaced layer, the part that now holds its paths, and a moved cut.
        CHECK(changed <= 4);
        by_leaf += changed;
      }
      for (const std::uint64_t percent : {3u, 30u}) {
        auto grown = packages;
        grown[chosen].size += grown[chosen].size * percent / 100;
        by_growth += changed_by(grown);
      }
      auto fewer = packages;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(chosen));
      for (Package& package : fewer) std::erase(package.needs, packages[chosen].name);
      by_removal += changed_by(fewer);
    }
    CAPTURE(by_leaf);
    CAPTURE(by_growth);
    CAPTURE(by_removal);
    CHECK(by_leaf <= 3 * 2 * seeds);
    CHECK(by_growth <= seeds);
    CHECK(by_removal <= 5 * seeds);  // all users have a smaller closure, and another position in the order
  }
}

TEST_CASE("plan: two images that hold the same packages share bundles") {
  const std::vector<Package> wget = {{"wget-1.21", 900 * kib, {"curl-8.4.0"}}, {"pcre2-10", 600 * kib, {}}};
  const std::vector<Package> git = {{"git-2.40", 40 * mib, {"curl-8.4.0"}}, {"less-590", 300 * kib, {"glibc-2.36"}}};
  const Names bundle = {"curl-8.4.0", "keyutils-1.6", "krb5-1.20", "libpsl-0.21", "nghttp2-1.52-lib", "zlib-1.2.13"};
  CHECK(has(plan_names(base + wget, at_most(20)), bundle));
  CHECK(has(plan_names(base + git, at_most(20)), bundle));
}

TEST_CASE("plan: nearly all intrinsic layers of a part of a closure are layers of the whole") {
  std::size_t intrinsic = 0, kept = 0;
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    // Earlier paths do not refer to later ones, so the first half is closed.
    const auto whole = random_packages(seed, 60);
    const std::vector<Package> part(whole.begin(), whole.begin() + 30);
    Settings settings;
    settings.max_layers = 125;
    const store::Closure closure = make_closure(part);
    const auto layers = plan_layers(closure, settings);
    const auto in_part = names_of(closure, layers), in_whole = plan_names(whole, settings);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (!layers[i].intrinsic) continue;
      ++intrinsic;
      kept += has(in_whole, in_part[i]);
    }
  }
  CHECK(intrinsic > 100);
  CHECK(100 * kept >= 98 * intrinsic);  // if bundles overlap, an added one may come first
}

TEST_CASE("plan: left-over paths fill layers of megabytes") {
  std::vector<Package> packages;
  for (int i = 0; i < 100; ++i) packages.push_back({"leaf" + std::to_string(i), 100 * kib, {}});
  const store::Closure closure = make_closure(packages);
  const auto layers = plan_layers(closure, {});
  CHECK(layers.size() == 4);  // 9.8 MiB do not make a fifth
  for (const Layer& layer : layers) CHECK(layer.nar_size >= 2 * mib);
}

TEST_CASE("plan: popularity decides which paths keep a layer if there are too many") {
  std::vector<Package> packages;
  for (unsigned i = 0; i < 9; ++i) packages.push_back({"app" + std::to_string(i) + "-1.0", (20 + i) * mib, {}});
  packages.push_back({"toolkit-4.2", 17 * mib, {}});
  Settings settings = at_most(4);
  CHECK(!has(plan_names(packages, settings), {"toolkit-4.2"}));
  settings.popularity = {{"toolkit", 1000}, {"app1", 0}};
  CHECK(has(plan_names(packages, settings), {"toolkit-4.2"}));
  settings.popularity = {{"toolkit", UINT64_MAX}};
  CHECK(has(plan_names(packages, settings), {"toolkit-4.2"}));
}

TEST_CASE("plan: with many layers, popularity also decides which keep one") {
  std::vector<Package> packages;
  for (unsigned i = 0; i < 36; ++i) packages.push_back({"app" + std::to_string(i) + "-1.0", (20 + i) * mib, {}});
  packages.push_back({"toolkit-4.2", 17 * mib, {}});
  Settings settings = at_most(30);
  CHECK(!has(plan_names(packages, settings), {"toolkit-4.2"}));
  settings.popularity = {{"toolkit", 1000}};
  CHECK(has(plan_names(packages, settings), {"toolkit-4.2"}));
  CHECK(has(plan_names(packages, settings), {"app35-1.0"}));  // too large to be displaced by shared ones
  settings.popularity = {{"toolkit", 1000}, {"app0", 1000}, {"app35", 1}};
  CHECK(has(plan_names(packages, settings), {"app0-1.0"}));
}

TEST_CASE("plan: with few layers, paths as popular as their user are its companions") {
  const std::vector<Package> packages = {
      {"libc-2", 13 * mib, {}},           {"perl-5", 1 * mib, {"modules-5", "libc-2"}},
      {"modules-5", 7 * mib, {"data-5"}}, {"data-5", 1 * mib, {}},
      {"llvm-14", 90 * mib, {"libc-2"}},  {"rustc-1", 3 * mib, {"llvm-14", "zlib-1"}},
      {"zlib-1", 2 * mib, {"libc-2"}},    {"unheard-1", 2 * mib, {}},
      {"of-1", 2 * mib, {"unheard-1"}}};
  Settings settings = at_most(20);
  settings.popularity = {{"libc", 100}, {"perl", 46}, {"modules", 50}, {"data", 51},
                         {"llvm", 9},   {"rustc", 9}, {"zlib", 60}};
  const store::Closure closure = make_closure(packages);
  const auto layers = plan_layers(closure, settings);
  const auto names = names_of(closure, layers);
  CHECK(has(names, {"data-5", "modules-5", "perl-5"}));  // each within a tenth of the next
  CHECK(has(names, {"llvm-14"}));                        // too large for a companion
  CHECK(has(names, {"zlib-1"}));                         // most users do not need rustc
  CHECK(has(names, {"unheard-1"}));                      // unknown popularity
  CHECK(layers.size() == 7);
  const auto with_perl = std::find(names.begin(), names.end(), Names{"data-5", "modules-5", "perl-5"});
  CHECK(layers[static_cast<std::size_t>(with_perl - names.begin())].reason ==
        "perl-5 with 2 paths that it needs: 9.4 MB");

  settings.max_layers = 100;  // enough layers: paths that change alone are pulled alone
  CHECK(has(plan_names(packages, settings), {"modules-5"}));
}

TEST_CASE("plan: references in a cycle lose no path") {
  const std::vector<Package> packages = {{"a", 2 * mib, {"b"}},
                                         {"b", 10 * kib, {"c"}},
                                         {"c", 3 * mib, {"a"}},
                                         {"d", 20 * kib, {"a", "d2"}},
                                         {"d2", 1, {}}};
  const store::Closure closure = make_closure(packages);
  check_sound(closure, plan_layers(closure, {}), {});
}

TEST_CASE("plan: a realistic closure of 3,000 paths") {
  // Quadratic algorithms would exceed the time limit of the unit tests.
  const store::Closure closure = make_closure(random_packages(3, 3000));
  for (const unsigned most : {1u, 2u, 20u, 100u, 125u})
    check_sound(closure, plan_layers(closure, at_most(most)), at_most(most));
}

TEST_CASE("plan: a chain and a fan of 20,000 paths") {
  std::vector<store::PathInfo> paths;
  for (int i = 0; i < 20000; ++i)
    paths.push_back({store_path("n" + std::to_string(i), 1), std::string(64, '0'), 30 * kib, {}});
  std::sort(paths.begin(), paths.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  for (std::uint32_t i = 1; i < 10000; ++i) paths[i].references = {i - 1};
  for (std::uint32_t i = 10000; i < 19999; ++i) paths[19999].references.push_back(i);
  const store::Closure closure{std::move(paths)};
  check_sound(closure, plan_layers(closure, {}), {});
}

TEST_CASE("package_name: a version starts at the first dash that no letter follows") {
  CHECK(plan::package_name("openssl-3.0.11") == "openssl");
  CHECK(plan::package_name("python3.11-requests-2.28.1") == "python3.11-requests");
  CHECK(plan::package_name("nghttp2-1.52.0-lib") == "nghttp2");
  CHECK(plan::package_name("source") == "source");
  CHECK(plan::package_name("gtk+3-3.24") == "gtk+3");
  CHECK(plan::package_name("trailing-") == "trailing-");
  CHECK(plan::package_name("a--1") == "a");
  CHECK(plan::package_name("").empty());
}

TEST_CASE("parse_popularity: counts by package, versions add up") {
  const auto popularity = plan::parse_popularity(R"({"glibc": 30000, "glibc-2.36": 5, "zlib-1.2": 7, "xz": 0})", "p");
  CHECK(popularity == plan::Popularity{{"glibc", 30005}, {"zlib", 7}, {"xz", 0}});
  CHECK(plan::parse_popularity("{}", "p").empty());
  CHECK(plan::parse_popularity(R"({"a": 18446744073709551615, "a-1": 2})", "p").at("a") == UINT64_MAX);
}

TEST_CASE("parse_popularity: anything but an object of counts is refused, with the position") {
  for (const char* text : {"", "[]", "7", "null", "{\"a\": -1}", "{\"a\": 1.5}", "{\"a\": \"1\"}",
                           "{\"a\": {\"b\": 1}}", "{\"a\": [1]}", "{\"a\": 1", "{\"a\": 1} x", "{\"\xff\": 1}"}) {
    CAPTURE(text);
    try {
      plan::parse_popularity(text, "popularity.json");
      FAIL("was taken");
    } catch (const Error& error) {
      CHECK(error.failure() == Failure::bad_config);
      CHECK(std::string(error.what()).starts_with("popularity.json: byte "));
    }
  }
  CHECK_THROWS_WITH_AS(plan::parse_popularity("{\"a\": true}", "p"),
                       "p: byte 10: must be an object of package names and counts", Error);
  CHECK_THROWS_AS(plan::parse_popularity(std::string(200000, '['), "p"), Error);
}
