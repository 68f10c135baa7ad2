#include <doctest/doctest.h>

#include "error.h"
#include "store/closure.h"

using namespace nixery;
using store::StorePath;

namespace {

std::string path(char fill, std::string_view name) {
  return "/nix/store/" + std::string(32, fill) + "-" + std::string(name);
}

std::string record(const std::string& path, const std::vector<std::string>& references) {
  std::string text = path + "\n" + std::string(64, '0') + "\n1000\n\n" + std::to_string(references.size()) + "\n";
  for (const std::string& reference : references) text += reference + "\n";
  return text;
}

}  // namespace

TEST_CASE("only whole store paths are store paths") {
  const auto curl = StorePath::parse(path('a', "curl-8.0"));
  REQUIRE(curl);
  CHECK(curl->name() == "curl-8.0");
  CHECK(curl->hash_part() == std::string(32, 'a'));
  for (const std::string& wrong : {path('a', ""), path('e', "curl"), path('a', "curl/bin"), path('a', "cu rl"),
                                   std::string("/nix/store/short-x"), std::string(""), std::string("/nix/store/"),
                                   "/tmp" + path('a', "curl"), path('a', "x\n"), path('a', std::string(212, 'x'))})
    CHECK_FALSE(StorePath::parse(wrong));
}

TEST_CASE("a dump of the database becomes a closure, sorted, with references by index") {
  const std::string a = path('a', "a"), b = path('b', "b"), c = path('c', "c");
  const auto closure = store::parse_dump_db(record(c, {a, b, c}) + record(a, {}) + record(b, {a}));
  REQUIRE(closure.paths.size() == 3);
  CHECK(closure.paths[0].path.str() == a);
  CHECK(closure.paths[1].references == std::vector<std::uint32_t>{0});
  CHECK(closure.paths[2].references == std::vector<std::uint32_t>{0, 1});
  CHECK(closure.nar_size() == 3000);
}

TEST_CASE("duplicate paths count once, references to unknown paths not at all") {
  const std::string a = path('a', "a"), b = path('b', "b");
  const auto closure = store::parse_dump_db(record(a, {b}) + record(a, {b}));
  REQUIRE(closure.paths.size() == 1);
  CHECK(closure.paths[0].references.empty());
}

TEST_CASE("a truncated or malformed dump is an error that names the line") {
  const std::string whole = record(path('a', "a"), {path('b', "b")});
  CHECK(store::parse_dump_db("").paths.empty());
  for (std::size_t length = 1; length < whole.size(); ++length)
    CHECK_THROWS_AS(store::parse_dump_db(whole.substr(0, length)), Error);
  CHECK_THROWS_AS(store::parse_dump_db("no path\n"), Error);
  CHECK_THROWS_AS(store::parse_dump_db(path('a', "a") + "\n" + std::string(64, '0') + "\nmany\n\n0\n"), Error);
}
