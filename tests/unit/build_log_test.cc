#include "pipeline/build_log.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "memory_store.h"
#include "os/file.h"
#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

std::string line(std::size_t number) {
  return fmt::format("line {:08}", number);
}

struct Logs {
  const test::TemporaryDirectory dir;
  const test::MemoryStore memory{};
  const tree::BlobStore& store = memory;
  const tree::LocalState local{dir.path() / "state"};

  std::string write(std::string_view key, std::size_t lines) const {
    {
      const pipeline::BuildLog log(store, local, key);
      for (std::size_t i = 0; i < lines; ++i) log.line(line(i));
    }
    return *os::read_if_exists(local.log(key));
  }
};

}  // namespace

TEST_CASE("a long log keeps its beginning and end, and states what is omitted") {
  const Logs logs;
  const std::size_t lines = 1'000'000, line_size = 14;
  const std::string log = logs.write("log", lines);
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
  const Logs logs;
  const std::size_t fits = pipeline::log_beginning / 14;
  CHECK(logs.write("a", fits).find('[') == std::string::npos);
  const std::string over = logs.write("b", fits + 2);
  CHECK(over.find("left out") == std::string::npos);
  CHECK(over.ends_with("is over]\n" + line(fits) + "\n" + line(fits + 1) + "\n"));
}

TEST_CASE("an empty log leaves no file and removes that of an earlier build") {
  const Logs logs;
  { const pipeline::BuildLog log(logs.store, logs.local, "a"); }
  CHECK_FALSE(fs::exists(logs.local.directory));
  logs.write("a", 1);
  const pipeline::BuildLog log(logs.store, logs.local, "a");
  CHECK(log.is_empty());
  CHECK_FALSE(fs::exists(logs.local.log("a")));
  log.line("first");
  CHECK_FALSE(log.is_empty());
  CHECK(os::read_if_exists(logs.local.log("a")) == "first\n");
}

TEST_CASE("writing a log removes the oldest ones, except those of running builds") {
  const Logs logs;
  os::make_directories(logs.local.logs());
  const auto add = [&](const std::string& key, std::uint64_t bytes, std::chrono::hours age) {
    os::write_file(logs.local.log(key), "", false);
    fs::resize_file(logs.local.log(key), bytes);  // sparse: takes no disk space
    fs::last_write_time(logs.local.log(key), fs::file_time_type::clock::now() - age);
  };
  const auto count = [&] { return std::distance(fs::directory_iterator(logs.local.logs()), fs::directory_iterator()); };
  const auto running = logs.store.lock("running");
  add("running", 100, std::chrono::hours(3000));
  SUBCASE("above their number") {
    for (int i = 0; i < static_cast<int>(pipeline::logs_limit.files) + 50; ++i)
      add(fmt::format("{}", i), 100, std::chrono::hours(2000 - i));
    CHECK(logs.write("new", 3).ends_with(line(2) + "\n"));
    CHECK(count() == static_cast<std::ptrdiff_t>(pipeline::logs_limit.files));
  }
  SUBCASE("above their size") {
    for (int i = 0; i < 100; ++i) add(fmt::format("{}", i), pipeline::log_beginning, std::chrono::hours(2000 - i));
    logs.write("new", 3);
    std::uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(logs.local.logs())) bytes += entry.file_size();
    CHECK(bytes <= pipeline::logs_limit.bytes);
    CHECK(bytes > pipeline::logs_limit.bytes / 2);
  }
  CHECK(fs::exists(logs.local.log("running")));
  CHECK_FALSE(fs::exists(logs.local.log("0")));
  CHECK(fs::exists(logs.local.log("new")));
}
