#include "maintenance/last_run.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "error.h"
#include "log.h"
#include "text/lines.h"
#include "text/number.h"

namespace nixery::maintenance {

namespace {

constexpr std::chrono::hours believable{8 * 24};  // a week, and the delay of a weekly collection
constexpr std::chrono::hours settled{24};         // after a jump, the clock is believed when it has run for this long

tree::ObjectName last_run_name() {
  return {tree::Kind::maintenance, "collected"};
}

std::chrono::seconds whole_seconds(os::Time time) {
  return std::chrono::floor<std::chrono::seconds>(time.time_since_epoch());
}

std::optional<std::chrono::seconds> seconds_of(std::string_view text) {
  const auto value = text::number<std::int64_t>(text);
  return value ? std::optional(std::chrono::seconds(*value)) : std::nullopt;
}

std::string word(std::string_view& text) {
  const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
  std::string first(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return first;
}

std::string boot_id() {
  return std::string(text::first_line(os::read_if_exists("/proc/sys/kernel/random/boot_id").value_or("")));
}

bool is_same_boot(const Run& last, const Run& now) {
  return last.boot == now.boot && !last.boot.empty();
}

std::chrono::seconds elapsed(const Run& last, const Run& now) {
  const auto passed =
      is_same_boot(last, now) ? now.since_boot - last.since_boot : whole_seconds(now.time) - whole_seconds(last.time);
  return std::max(passed, std::chrono::seconds(0));
}

bool has_no_gap(std::vector<os::Time> traces, os::Time last, os::Time now) {
  std::sort(traces.begin(), traces.end());
  for (const os::Time trace : traces) {
    if (trace <= last) continue;
    if (trace >= now) break;
    if (trace - last > believable) return false;
    last = trace;
  }
  return now - last <= believable;
}

}  // namespace

Run this_run() {
  timespec since_boot{};
  clock_gettime(CLOCK_BOOTTIME, &since_boot);
  const auto time = std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
  return {time, boot_id(), std::chrono::seconds(since_boot.tv_sec), true, {}};
}

std::optional<Run> last_run(const tree::BlobStore& store) {
  const auto text = store.read(last_run_name());
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  const auto time = seconds_of(word(rest));
  if (!time) return std::nullopt;
  Run run{os::Time(*time), word(rest), {}, true, {}};
  const auto since_boot = seconds_of(word(rest));
  if (!since_boot) return Run{os::Time(*time), {}, {}, true, {}};  // of a version with one clock
  if (run.boot == "-") run.boot.clear();
  run.since_boot = *since_boot;
  run.believed = word(rest) != "doubted";
  run.since_jump = std::max(seconds_of(word(rest)).value_or(std::chrono::seconds(0)), std::chrono::seconds(0));
  return run;
}

void remember(const tree::BlobStore& store, const Run& run) {
  store.put(last_run_name(),
            fmt::format("{} {} {} {} {}\n", whole_seconds(run.time).count(), run.boot.empty() ? "-" : run.boot,
                        run.since_boot.count(), run.believed ? "believed" : "doubted", run.since_jump.count()));
}

void judge(Run& now, const Run& last, std::vector<os::Time> traces) {
  now.believed = false;
  now.since_jump = {};
  const auto passed = now.time - last.time;
  const bool same_boot = is_same_boot(last, now);
  const auto unknown = passed - (same_boot ? now.since_boot - last.since_boot : std::chrono::seconds(0));
  if (unknown < -clock_difference) return;
  if (unknown <= believable) {
    if (!last.believed) now.since_jump = last.since_jump + elapsed(last, now);
    now.believed = last.believed || now.since_jump >= settled;
  } else {
    now.believed = (!same_boot && !last.believed) || has_no_gap(std::move(traces), last.time, now.time);
  }
  if (now.believed) now.since_jump = {};
}

std::chrono::seconds until_next_run(const tree::BlobStore& store, std::chrono::seconds every) {
  Run now = this_run();
  const auto last = last_run(store);
  if (last && !is_in_future(last->time, now.time)) {
    const auto passed = whole_seconds(now.time) - whole_seconds(last->time);
    return std::clamp(every - passed, std::chrono::seconds(0), every);
  }
  now.believed = !last;  // it was in the future: it is unknown which clock is right
  try {
    remember(store, now);
  } catch (const Error& error) {
    log::warning("cannot keep the time until the next collection", {{"error", error.what()}});
  }
  return every;
}

}  // namespace nixery::maintenance
