#include <doctest/doctest.h>

#include <numeric>
#include <thread>
#include <vector>

#include "metrics/exposition.h"
#include "metrics/page.h"

using namespace nixery;
using namespace std::chrono_literals;
using metrics::Exposition;

namespace {

bool has_line(const std::string& text, std::string_view line) {
  return ("\n" + text).find("\n" + std::string(line) + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("a family has help, type, and its samples") {
  Exposition page;
  page.counter("nixery_things_total", "Things, all of them.");
  page.sample({}, std::uint64_t{0});
  page.gauge("nixery_level_seconds", "How far.");
  page.sample({{"a", "x"}, {"b", "y"}}, 1.5);
  CHECK(page.text() ==
        "# HELP nixery_things_total Things, all of them.\n# TYPE nixery_things_total counter\nnixery_things_total 0\n"
        "# HELP nixery_level_seconds How far.\n# TYPE nixery_level_seconds gauge\n"
        "nixery_level_seconds{a=\"x\",b=\"y\"} 1.5\n");
}

TEST_CASE("characters that end a label or a line are escaped") {
  Exposition page;
  page.gauge("nixery_x", "a\nb \\ \"c\"");
  page.sample({{"a", "q\"b\\n\nz"}}, std::uint64_t{18446744073709551615u});
  CHECK(has_line(page.text(), "# HELP nixery_x a\\nb \\\\ \"c\""));
  CHECK(has_line(page.text(), "nixery_x{a=\"q\\\"b\\\\n\\nz\"} 18446744073709551615"));
}

TEST_CASE("a histogram's buckets are cumulative, and the last one holds all") {
  metrics::Histogram histogram;
  for (const auto took : {1ms, 10ms, 11ms, 3000ms}) histogram.observe(took);
  histogram.observe(2h);
  Exposition page;
  page.histogram("nixery_x_seconds", "x");
  page.sample({{"phase", "layer"}}, histogram);
  const std::string& text = page.text();
  CHECK(has_line(text, "nixery_x_seconds_bucket{phase=\"layer\",le=\"0.01\"} 2"));
  CHECK(has_line(text, "nixery_x_seconds_bucket{phase=\"layer\",le=\"0.03\"} 3"));
  CHECK(has_line(text, "nixery_x_seconds_bucket{phase=\"layer\",le=\"1\"} 3"));
  CHECK(has_line(text, "nixery_x_seconds_bucket{phase=\"layer\",le=\"3\"} 4"));
  CHECK(has_line(text, "nixery_x_seconds_bucket{phase=\"layer\",le=\"3600\"} 4"));
  CHECK(has_line(text, "nixery_x_seconds_bucket{phase=\"layer\",le=\"+Inf\"} 5"));
  CHECK(has_line(text, "nixery_x_seconds_sum{phase=\"layer\"} 7203.022"));
  CHECK(has_line(text, "nixery_x_seconds_count{phase=\"layer\"} 5"));
}

TEST_CASE("no count of concurrent threads is lost") {
  metrics::Metrics counted({"a", "b"});
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        for (int n = 0; n < 10'000; ++n) {
          counted.requests.note(1, 404, 20ms);
          counted.build_duration.observe(20ms);
        }
      });
  }
  counted.requests.for_each_count([](std::string_view route, int status, std::uint64_t count) {
    if (status == 404) CHECK((route == "b" && count == 40'000));
  });
  counted.requests.for_each_duration([](std::string_view route, const metrics::Histogram& durations) {
    CHECK(durations.read().buckets[1] == (route == "b" ? 40'000 : 0));
  });
  CHECK(counted.build_duration.read().buckets[1] == 40'000);
  CHECK(counted.build_duration.read().seconds == doctest::Approx(800));
}

TEST_CASE("a timer observes its lifetime, also if an exception ends it") {
  metrics::Histogram histogram;
  try {
    const metrics::Timer timer(histogram);
    throw 1;
  } catch (int) {
  }
  const auto seen = histogram.read();
  CHECK(std::accumulate(seen.buckets.begin(), seen.buckets.end(), std::uint64_t{0}) == 1);
}

TEST_CASE("the page has all counters and measurements, each family once") {
  metrics::Metrics counted({"manifest", "blob"});
  counted.requests.note(1, 206, 1s);
  counted.failed[static_cast<std::size_t>(Failure::build_failed)].add(2);
  counted.tags.joined.add();
  metrics::Readings readings;
  readings.version = "1.2";
  readings.listener = "unix:/run/\"x\"";
  readings.tree_disk = metrics::Disk{5, 10};
  readings.tree = metrics::TreeCount{7, 900, std::chrono::system_clock::time_point(1'700'000'000s)};
  readings.pulls = 11;
  const std::string text = metrics::page(counted, readings);
  for (const char* line :
       {"nixery_build_info{version=\"1.2\"} 1", "nixery_worker_info{listener=\"unix:/run/\\\"x\\\"\"} 1",
        "nixery_requests_total{route=\"blob\",status=\"206\"} 1",
        "nixery_requests_total{route=\"blob\",status=\"200\"} 0", "nixery_builds_total{outcome=\"build_failed\"} 2",
        "nixery_builds_total{outcome=\"built\"} 0", "nixery_lookups_total{kind=\"tag\",result=\"joined\"} 1",
        "nixery_tree_blobs 7", "nixery_tree_blob_bytes 900", "nixery_tree_counted_timestamp_seconds 1700000000",
        "nixery_disk_free_bytes{directory=\"tree\"} 5", "nixery_pulls_total 11"})
    CHECK_MESSAGE(has_line(text, line), line);
  CHECK(text.find("directory=\"state\"") == std::string::npos);  // it could not be queried
  for (std::size_t at = 0; (at = text.find("# TYPE ", at)) != text.npos; ++at) {
    const std::string type = text.substr(at, text.find('\n', at) + 1 - at);
    CHECK_MESSAGE(text.find(type, at + 1) == text.npos, type);
  }
}

TEST_CASE("unknown values are omitted") {
  const std::string text = metrics::page({}, {});
  for (const char* name : {"nixery_tree_blobs", "nixery_pulls_total", "nixery_disk_free_bytes"})
    CHECK_MESSAGE(text.find(name) == text.npos, name);
}

TEST_CASE("an invalid status does not break the counting") {
  metrics::RequestCounts counts({"a"});
  counts.note(0, -1, 1s);
  counts.note(0, 600, 1s);
  std::uint64_t odd = 0;
  counts.for_each_count([&](std::string_view, int status, std::uint64_t count) { odd += status == 0 ? count : 0; });
  CHECK(odd == 2);
}
