#include "pipeline/build_log.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "os/file.h"
#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

std::string line(std::size_t number) {
  return fmt::format("line {:08}", number);
}

std::string log_of(const fs::path& path, std::size_t lines) {
  {
    const pipeline::BuildLog log(path);
    for (std::size_t i = 0; i < lines; ++i) log.line(line(i));
  }
  return *os::read_if_exists(path);
}

}  // namespace

TEST_CASE("a log that is long keeps its beginning and its end, and says what is left out between") {
  const test::TemporaryDirectory dir;
  const std::size_t lines = 1'000'000, line_size = 14;
  const std::string log = log_of(dir.path() / "log", lines);
  CHECK(log.size() < pipeline::log_beginning + pipeline::log_end + 1000);
  CHECK(log.starts_with(line(0) + "\n" + line(1) + "\n"));
  CHECK(log.ends_with("\n" + line(lines - 1) + "\n"));

  const auto mark = log.find("[a long log"), told = log.find("\n[", mark) + 1;
  REQUIRE(told < log.size());
  const auto first = log.find('\n', mark) + 1;
  CHECK(first == told);  // nothing stands between the two
  const std::size_t before = mark / line_size;
  const std::size_t after = (log.size() - log.find('\n', told) - 1) / line_size;
  CHECK(log.substr(told).starts_with(fmt::format("[{} bytes ", (lines - before - after) * line_size)));
  CHECK(log.substr(log.find('\n', told) + 1).starts_with(line(lines - after) + "\n"));
}

TEST_CASE("a log that just fits, or goes a little over, is whole") {
  const test::TemporaryDirectory dir;
  const std::size_t fits = pipeline::log_beginning / 14;
  CHECK(log_of(dir.path() / "a", fits).find('[') == std::string::npos);
  const std::string over = log_of(dir.path() / "b", fits + 2);
  CHECK(over.find("left out") == std::string::npos);
  CHECK(over.ends_with("is over]\n" + line(fits) + "\n" + line(fits + 1) + "\n"));
}
