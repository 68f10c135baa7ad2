#include "maintenance/tree_size_monitor.h"

#include <doctest/doctest.h>

#include <fstream>

#include "directory_tree.h"
#include "maintenance/pull_count.h"
#include "os/file.h"
#include "temporary_directory.h"
#include "tree/tree.h"

using namespace nixery;

namespace {

const std::string digest = "sha256:" + std::string(64, 'a');

void append(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::app) << text;
}

}  // namespace

TEST_CASE("pulls are counted from the start, whole well-formed lines only") {
  const test::TemporaryDirectory dir;
  const auto log = dir.path() / "use.log";
  append(log, "1.0 " + digest + "\n");
  maintenance::PullCount count(log);
  CHECK(count.look() == 0);
  append(log, "2.0 " + digest + "\n3.0 -\nnonsense\n4.0 " + digest);
  CHECK(count.look() == 1);
  append(log, "\n");
  CHECK(count.look() == 2);
  CHECK(count.look() == 2);
}

TEST_CASE("a log of pulls may appear later, be rotated, and be truncated") {
  const test::TemporaryDirectory dir;
  const auto log = dir.path() / "use.log";
  maintenance::PullCount count(log);
  CHECK(count.look() == 0);
  append(log, "1.0 " + digest + "\n");
  CHECK(count.look() == 1);
  append(log, "2.0 " + digest + "\n");
  std::filesystem::rename(log, dir.path() / "use.log.1");
  append(log, "3.0 " + digest + "\n");
  CHECK(count.look() == 3);
  std::ofstream(log, std::ios::trunc).close();
  CHECK(count.look() == 3);
  append(log, "4.0 " + digest + "\n");
  CHECK(count.look() == 4);
}

TEST_CASE("a very long log of pulls is read to its end, in pieces") {
  const test::TemporaryDirectory dir;
  const auto log = dir.path() / "use.log";
  maintenance::PullCount count(log);
  std::string text = std::string(600'000, 'x') + "\n";
  for (int i = 0; i < 10'000; ++i) text += "1764000000.123 " + digest + "\n";
  append(log, text);
  CHECK(count.look() == 10'000);
}

TEST_CASE("the monitor counts the blobs of the tree, not incomplete files") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  tree.store().prepare();
  tree.publish_blob("one");
  tree.publish_blob("three");
  os::PendingFile unfinished(layout.incoming());
  unfinished.write("not yet");
  maintenance::TreeSizeMonitor size_monitor(tree.store(), {});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  std::optional<maintenance::TreeSize> counted;
  while (!(counted = size_monitor.latest()) && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  REQUIRE(counted);
  CHECK(counted->blobs == 2);
  CHECK(counted->bytes == 8);
  CHECK_FALSE(counted->pulls);
}
