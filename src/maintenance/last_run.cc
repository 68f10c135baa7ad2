#include "maintenance/last_run.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string_view>

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::hours believable{8 * 24};     // a week, and the delay of who collects once a week
constexpr std::chrono::minutes believable_back{10};  // clocks of hosts that share a registry differ

fs::path file_of(const tree::Layout& layout) {
  return layout.state / "collected";
}

std::chrono::seconds whole_seconds(os::Time time) {
  return std::chrono::floor<std::chrono::seconds>(time.time_since_epoch());
}

std::optional<std::chrono::seconds> seconds_of(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return std::chrono::seconds(value);
}

std::string word(std::string_view& text) {
  const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
  std::string first(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return first;
}

std::string boot_id() {
  std::string id = os::read_if_exists("/proc/sys/kernel/random/boot_id").value_or("");
  id.erase(std::min(id.find('\n'), id.size()));
  return id;
}

}  // namespace

Run this_run() {
  timespec since_boot{};
  clock_gettime(CLOCK_BOOTTIME, &since_boot);
  return {std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now()), boot_id(),
          std::chrono::seconds(since_boot.tv_sec), true};
}

std::optional<Run> last_run(const tree::Layout& layout) {
  const auto text = os::read_if_exists(file_of(layout));
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  const auto time = seconds_of(word(rest));
  if (!time) return std::nullopt;
  Run run{os::Time(*time), word(rest), {}, true};
  const auto since_boot = seconds_of(word(rest));
  if (!since_boot) return Run{os::Time(*time), {}, {}, true};  // of a version that knew one clock
  if (run.boot == "-") run.boot.clear();
  run.since_boot = *since_boot;
  run.believed = word(rest) != "doubted";
  return run;
}

void remember(const tree::Layout& layout, const Run& run) {
  os::write_file(file_of(layout),
                 fmt::format("{} {} {} {}\n", whole_seconds(run.time).count(), run.boot.empty() ? "-" : run.boot,
                             run.since_boot.count(), run.believed ? "believed" : "doubted"));
}

bool is_believable(const Run& last, const Run& now, std::vector<os::Time> traces) {
  const auto passed = now.time - last.time;
  const bool same_boot = last.boot == now.boot && !last.boot.empty();
  const auto unknown = passed - (same_boot ? now.since_boot - last.since_boot : std::chrono::seconds(0));
  if (unknown < -believable_back) return false;
  if (unknown <= believable || (!same_boot && !last.believed)) return true;
  std::sort(traces.begin(), traces.end());
  os::Time before = last.time;
  for (const os::Time trace : traces) {
    if (trace <= before) continue;
    if (trace >= now.time) break;
    if (trace - before > believable) return false;
    before = trace;
  }
  return now.time - before <= believable;
}

std::chrono::seconds until_next_run(const tree::Layout& layout, std::chrono::seconds every) {
  const Run now = this_run();
  const auto last = last_run(layout);
  if (!last) {
    remember(layout, now);
    return every;
  }
  const auto passed = whole_seconds(now.time) - whole_seconds(last->time);
  return std::clamp(every - passed, std::chrono::seconds(0), every);
}

}  // namespace nixery::maintenance
