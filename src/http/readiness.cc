#include "http/readiness.h"

#include <fmt/format.h>

#include "error.h"
#include "json/json.h"
#include "log.h"
#include "nix/nix.h"
#include "os/file.h"
#include "os/usage.h"
#include "quantity.h"

namespace nixery::http {

namespace {

constexpr std::chrono::seconds lasts{5};

// Who may ask may not know where things lie.
std::string without(std::string text, const std::string& path, std::string_view name) {
  for (std::size_t at = 0; (at = text.find(path, at)) != text.npos; at += name.size())
    text.replace(at, path.size(), name);
  return text;
}

template <typename Look>
Check check(std::string name, const tree::Layout& layout, Look&& look) {
  Check done{std::move(name), {}};
  try {
    done.why = look();
  } catch (const std::exception& error) {
    done.why = without(without(error.what(), layout.tree, "NIXERY_TREE"), layout.state, "NIXERY_STATE");
  }
  return done;
}

// Free blocks alone do not tell: the file system may have become read-only.
std::string write_in(const std::filesystem::path& directory) {
  os::PendingFile(directory).write("x");
  return {};
}

std::string room_in(const std::filesystem::path& directory, std::uint64_t least) {
  const auto space = os::disk_space(directory);
  if (!space) return "cannot be asked how much room is left";
  if (space->free >= least) return {};
  return fmt::format("{} free, NIXERY_MIN_FREE is {}", format_size(space->free), format_size(least));
}

}  // namespace

std::string readiness_report(const std::vector<Check>& checks) {
  return json::object([&](json::Writer& writer) {
    json::key(writer, "ready");
    writer.Bool(std::all_of(checks.begin(), checks.end(), [](const Check& each) { return each.why.empty(); }));
    json::key(writer, "checks");
    writer.StartObject();
    for (const Check& each : checks) {
      json::key(writer, each.name);
      writer.StartObject();
      json::key(writer, "ok");
      writer.Bool(each.why.empty());
      if (!each.why.empty()) json::member(writer, "why", each.why);
      writer.EndObject();
    }
    writer.EndObject();
  });
}

Readiness::Readiness(tree::Layout layout, ReadinessSettings settings)
    : layout_(std::move(layout)), settings_(settings), jobs_({1, 1, lasts}, true) {}

std::shared_ptr<CheckJob> Readiness::look() {
  return jobs_.submit("", "ready", [this](NoState&, const std::stop_token& stop) { return report(checks(stop)); });
}

std::vector<Check> Readiness::checks(const std::stop_token& stop) const {
  return {
      check("nix", layout_,
            [&] {
              nix::check_store(stop);
              return std::string();
            }),
      check("tree", layout_, [this] { return write_in(layout_.incoming()); }),
      check("state", layout_, [this] { return write_in(layout_.state); }),
      check("tree space", layout_, [this] { return room_in(layout_.tree, settings_.min_free); }),
      check("state space", layout_, [this] { return room_in(layout_.state, settings_.min_free); }),
  };
}

std::string Readiness::report(const std::vector<Check>& checks) {
  std::string wrong;
  for (const Check& each : checks)
    if (!each.why.empty()) wrong += fmt::format("{}{}: {}", wrong.empty() ? "" : "; ", each.name, each.why);
  if (wrong != logged_) {
    if (wrong.empty())
      log::info("ready again");
    else
      log::error("not ready", {{"error", wrong}});
    logged_ = wrong;
  }
  std::string report = readiness_report(checks);
  if (!wrong.empty()) throw Error(Failure::unavailable, wrong, std::move(report));
  return report;
}

}  // namespace nixery::http
