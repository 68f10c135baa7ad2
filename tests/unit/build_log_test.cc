#include "pipeline/build_log.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "os/file.h"
#include "os/lock.h"
#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

std::string line(std::size_t number) {
  return fmt::format("line {:08}", number);
}

tree::Layout layout_in(const test::TemporaryDirectory& dir) {
  return {dir.path() / "tree", dir.path() / "state"};
}

std::string log_of(const tree::Layout& layout, std::string_view key, std::size_t lines) {
  {
    const pipeline::BuildLog log(layout, key);
    for (std::size_t i = 0; i < lines; ++i) log.line(line(i));
  }
  return *os::read_if_exists(layout.log(key));
}

}  // namespace

TEST_CASE("a long log keeps its beginning and end, and states what is omitted") {
  const test::TemporaryDirectory dir;
  const std::size_t lines = 1'000'000, line_size = 14;
  const std::string log = log_of(layout_in(dir), "log", lines);
  CHECK(log.size() < pipeline::log_beginning + pipeline::log_end + 1000);
  CHECK(log.starts_with(line(0) + "\n" + line(1) + "\n"));
  CHECK(log.ends_with("\n" + line(lines - 1) + "\n"));

  const auto mark = log.find("[a long log"), note = log.find("\n[", mark) + 1;
  REQUIRE(note < log.size());
  const auto first = log.find('\n', mark) + 1;
  CHECK(first == note);  // nothing in between
  const std::size_t before = mark / line_size;
  const std::size_t after = (log.size() - log.find('\n', note) - 1) / line_size;
  CHECK(log.substr(note).starts_with(fmt::format("[{} bytes ", (lines - before - after) * line_size)));
  CHECK(log.substr(log.find('\n', note) + 1).starts_with(line(lines - after) + "\n"));
}

TEST_CASE("a log just below or slightly above the limit is kept whole") {
  const test::TemporaryDirectory dir;
  const std::size_t fits = pipeline::log_beginning / 14;
  CHECK(log_of(layout_in(dir), "a", fits).find('[') == std::string::npos);
  const std::string over = log_of(layout_in(dir), "b", fits + 2);
  CHECK(over.find("left out") == std::string::npos);
  CHECK(over.ends_with("is over]\n" + line(fits) + "\n" + line(fits + 1) + "\n"));
}

TEST_CASE("an empty log leaves no file and removes that of an earlier build") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout = layout_in(dir);
  { const pipeline::BuildLog log(layout, "a"); }
  CHECK_FALSE(fs::exists(layout.state));
  log_of(layout, "a", 1);
  const pipeline::BuildLog log(layout, "a");
  CHECK(log.is_empty());
  CHECK_FALSE(fs::exists(layout.log("a")));
  log.line("first");
  CHECK_FALSE(log.is_empty());
  CHECK(os::read_if_exists(layout.log("a")) == "first\n");
}

TEST_CASE("writing a log removes the oldest ones, except those of running builds") {
  const test::TemporaryDirectory dir;
  const tree::Layout layout = layout_in(dir);
  const auto logs = layout.log("x").parent_path();
  os::make_directories(logs);
  const auto add = [&](const std::string& key, std::uint64_t bytes, std::chrono::hours age) {
    os::write_file(layout.log(key), "", false);
    fs::resize_file(layout.log(key), bytes);  // sparse: takes no disk space
    fs::last_write_time(layout.log(key), fs::file_time_type::clock::now() - age);
  };
  const auto count = [&] { return std::distance(fs::directory_iterator(logs), fs::directory_iterator()); };
  const os::Lock running(layout.key_lock("running"));
  add("running", 100, std::chrono::hours(3000));
  SUBCASE("above their number") {
    for (int i = 0; i < static_cast<int>(pipeline::logs_limit.files) + 50; ++i)
      add(fmt::format("{}", i), 100, std::chrono::hours(2000 - i));
    CHECK(log_of(layout, "new", 3).ends_with(line(2) + "\n"));
    CHECK(count() == static_cast<std::ptrdiff_t>(pipeline::logs_limit.files));
  }
  SUBCASE("above their size") {
    for (int i = 0; i < 100; ++i) add(fmt::format("{}", i), pipeline::log_beginning, std::chrono::hours(2000 - i));
    log_of(layout, "new", 3);
    std::uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(logs)) bytes += entry.file_size();
    CHECK(bytes <= pipeline::logs_limit.bytes);
    CHECK(bytes > pipeline::logs_limit.bytes / 2);
  }
  CHECK(fs::exists(layout.log("running")));
  CHECK_FALSE(fs::exists(layout.log("0")));
  CHECK(fs::exists(layout.log("new")));
}
