#include "nix/revisions.h"

#include <doctest/doctest.h>

#include <fstream>
#include <set>
#include <thread>

#include "error.h"
#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

nix::Revision revision(char digit) {
  return {std::string(40, digit), "u", true};
}

class Sets {
 public:
  nix::PinnedSource get(char digit) {
    return revisions.get(revision(digit), {}, [&](const fs::path& pinned) {
      ++made;
      fs::create_directories(pinned);
      std::ofstream(pinned / "default.nix") << digit;
    });
  }
  void age(char digit, std::chrono::hours age) const {
    fs::last_write_time(revisions.directory() / std::string(40, digit), fs::file_time_type::clock::now() - age);
  }
  std::set<char> kept() const {
    std::set<char> digits;
    for (const auto& entry : fs::directory_iterator(revisions.directory()))
      if (entry.is_directory() && entry.path().extension() != ".partial")
        digits.insert(entry.path().filename().native().front());
    return digits;
  }

  const test::TemporaryDirectory dir;
  const nix::Revisions revisions{dir.path() / "source", 3};
  int made = 0;
};

}  // namespace

TEST_CASE("a revision is made once, and the least recently used is removed when there are too many") {
  Sets sets;
  CHECK(sets.get('a').directory == sets.revisions.directory() / std::string(40, 'a') / "source");
  sets.get('b');
  sets.get('c');
  sets.get('a');
  CHECK(sets.made == 3);
  sets.age('a', 3h);
  sets.age('b', 2h);
  sets.age('c', 1h);
  sets.get('a');  // which makes it the most recently used
  sets.get('d');
  CHECK(sets.kept() == std::set<char>{'a', 'c', 'd'});
  sets.get('b');
  CHECK(sets.made == 5);
  CHECK(sets.kept() == std::set<char>{'a', 'b', 'd'});
}

TEST_CASE("a revision in use stays, regardless of its age") {
  Sets sets;
  std::optional<nix::PinnedSource> used = sets.get('a');
  for (const char digit : {'b', 'c'}) sets.get(digit);
  sets.age('a', 100h);
  CHECK_FALSE(nix::remove_revision(sets.revisions.directory(), revision('a').id));
  sets.get('d');
  CHECK(sets.kept() == std::set<char>{'a', 'c', 'd'});
  CHECK(fs::exists(used->directory / "default.nix"));
  used.reset();
  CHECK(nix::remove_revision(sets.revisions.directory(), revision('a').id));
  CHECK(sets.kept() == std::set<char>{'c', 'd'});
}

TEST_CASE("revisions with times in the future are removed first") {
  Sets sets;
  for (const char digit : {'a', 'b', 'c'}) sets.get(digit);
  sets.age('a', 100h);
  sets.age('b', -365 * 24h);
  sets.get('d');
  CHECK(sets.kept() == std::set<char>{'a', 'c', 'd'});
}

TEST_CASE("a revision that cannot be made is tried again, and waiting for one can be stopped") {
  Sets sets;
  const auto fail = [](const fs::path&) { throw Error(Failure::unavailable, "no network"); };
  CHECK_THROWS_WITH(sets.revisions.get(revision('a'), {}, fail), "no network");
  CHECK(sets.get('a').revision.id == revision('a').id);

  std::stop_source stop;
  CHECK_THROWS_WITH(sets.revisions.get(revision('b'), {},
                                       [&](const fs::path&) {
                                         std::jthread waiting([&] {
                                           CHECK_THROWS_AS(sets.revisions.get(revision('b'), stop.get_token(), fail),
                                                           Error);
                                         });
                                         stop.request_stop();
                                         waiting.join();
                                         throw Error(Failure::unavailable, "stopped");
                                       }),
                    "stopped");
}
