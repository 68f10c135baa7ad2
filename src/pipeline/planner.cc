#include "pipeline/planner.h"

#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "nix/attribute_names.h"
#include "os/usage.h"
#include "pipeline/keys.h"
#include "text/ascii.h"

namespace nixery::pipeline {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes fresh{5};  // older names are still used while they are looked up again
constexpr std::size_t kept_sets = 64;
constexpr std::size_t kept_facts = 10'000;
constexpr std::size_t listed = 500;             // missing paths listed in a plan
constexpr std::ptrdiff_t deepest_set = 3;       // "a.b.c." is the deepest supported set
constexpr std::string_view no_attribute = "?";  // an attribute that no set has: its error lists the set's names

jobs::JobLimits one_at_a_time(jobs::JobLimits limits) {
  limits.running = 1;
  return limits;
}

std::string name_in(std::string_view set, std::string_view name) {
  return set.empty() ? std::string(name) : fmt::format("{}.{}", set, name);
}

}  // namespace

Planner::Planner(const ImagePipeline& pipeline, const tree::Tree& tree, nix::Source& source, jobs::JobLimits limits)
    : pipeline_(pipeline), tree_(tree), source_(source), jobs_(one_at_a_time(limits), true) {}

std::shared_ptr<PlanJob> Planner::start_plan(const reference::Reference& reference, std::string_view address) {
  // The report contains the name, and other names of the same image have the same build key.
  const std::string key =
      image::KeyBuilder("plan").add(build_key(reference)).add(reference.repository).add(reference.tag).finish();
  return jobs_.submit(
      jobs::client_of_address(address), key,
      [this, reference](Progress& progress, const std::stop_token& stop) { return plan(reference, progress, stop); });
}

std::string Planner::plan(const reference::Reference& reference, Progress& progress, const std::stop_token& stop) {
  const os::FreedMemoryRelease release;
  const auto source = pipeline_.pin(reference, progress, stop);
  const auto platforms = reference.platform ? std::vector{*reference.platform} : pipeline_.settings().platforms;
  std::string plans;
  for (const reference::Platform& platform : platforms) {
    auto wanted = reference;
    wanted.platform = platform;
    const auto report = report_plan(pipeline_, tree_, pipeline_.resolve(wanted, source, progress, {{}, stop}), stop);
    learn_facts(report.image);
    plans += (plans.empty() ? "" : ",") + to_json(report, listed);
  }
  progress.enter(Phase::finished);
  return fmt::format(R"({{"reference":"{}:{}","plans":[{}]}})", reference.repository, reference.tag, plans);
}

void Planner::learn_facts(const ResolvedImage& image) {
  const std::lock_guard lock(mutex_);
  for (const nix::Package* package : image.contents()) {
    if (facts_.size() >= kept_facts) return;
    facts_[text::lower_case(package->attribute)] = {package->version, package->description};
  }
}

PackageFacts Planner::facts_of(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto known = facts_.find(name);
  return known == facts_.end() ? PackageFacts() : known->second;
}

Planner::Matches Planner::search(std::string_view text, std::size_t count, std::string_view address) {
  const std::string wanted = text::lower_case(text);
  const auto dot = wanted.rfind('.');
  const std::string set = dot == wanted.npos ? "" : wanted.substr(0, dot);
  const std::string word = dot == wanted.npos ? wanted : wanted.substr(dot + 1);
  if (!set.empty() && (!reference::is_repository(set) || set.find('/') != set.npos ||
                       std::count(set.begin(), set.end(), '.') >= deepest_set))
    throw Error(Failure::bad_query, "the parameter 'q' must be a part of a package's name, such as curl");

  Matches matches;
  std::shared_ptr<const std::vector<std::string>> names;
  bool old = true;
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = names_.find(set); known != names_.end()) {
      names = known->second.list;
      old = Clock::now() - known->second.learnt >= fresh;
    }
  }
  if (old)
    matches.lookup = jobs_.submit(jobs::client_of_address(address), image::KeyBuilder("names").add(set).finish(),
                                  [this, set](Progress& progress, const std::stop_token& stop) {
                                    list(set, progress, stop);
                                    return std::string();
                                  });
  matches.known = names != nullptr;
  if (!names) return matches;

  std::vector<const std::string*> beginning, holding;
  for (const std::string& name : *names) {
    const auto at = name.find(word);
    if (at != name.npos) (at == 0 ? beginning : holding).push_back(&name);
  }
  for (auto* group : {&beginning, &holding}) {
    std::stable_sort(group->begin(), group->end(),
                     [](const std::string* a, const std::string* b) { return a->size() < b->size(); });
    for (const std::string* name : *group) {
      matches.more = matches.names.size() == count;
      if (matches.more) return matches;
      matches.names.push_back(name_in(set, *name));
    }
  }
  return matches;
}

void Planner::list(const std::string& set, Progress& progress, const std::stop_token& stop) {
  progress.enter(Phase::resolving);
  const auto source = source_.fetch(source_.find("latest", stop), stop);
  // The spelling of a set is found in the set around it.
  std::vector<std::string> names = names_of(source, "", stop);
  for (std::size_t dot = 0; !set.empty() && dot != set.npos;) {
    dot = set.find('.', dot + 1);
    names = names_of(source, set.substr(0, dot), stop);
  }
  auto kept = std::make_shared<const std::vector<std::string>>(pullable(set, names));
  {
    const std::lock_guard lock(mutex_);
    if (names_.size() >= kept_sets && !names_.contains(set))
      names_.erase(std::min_element(names_.begin(), names_.end(),
                                    [](const auto& a, const auto& b) { return a.second.learnt < b.second.learnt; }));
    names_[set] = {std::move(kept), Clock::now()};
  }
}

std::vector<std::string> Planner::names_of(const nix::PinnedSource& source, const std::string& set,
                                           const std::stop_token& stop) const {
  const auto& settings = pipeline_.settings();
  const reference::Platform& platform = settings.platforms.front();
  const nix::AttributeNames known(settings.nix.attribute_names, source.revision, settings.nix.nixpkgs, platform);
  auto names = known.names(set);
  if (!names) {
    try {
      nix::resolve(settings.nix, source, {reference::AttributePath{name_in(set, no_attribute)}}, platform, {{}, stop});
    } catch (const Error& error) {
      if (error.failure() != Failure::unknown_package && error.failure() != Failure::not_a_package) throw;
    }
    names = known.names(set);
  }
  const auto has = [&](const char* name) { return std::find(names->begin(), names->end(), name) != names->end(); };
  if (!names || (has("drvPath") && has("outPath")))
    throw Error(Failure::unknown_package, fmt::format("'{}' is not a set of packages", set));
  return *std::move(names);
}

// Lower case, ascending: only names that are valid in image names and are served.
std::vector<std::string> Planner::pullable(const std::string& set, const std::vector<std::string>& names) const {
  const auto& blocked = pipeline_.settings().nix.blocked;
  std::vector<std::string> kept;
  for (const std::string& name : names) {
    auto typed = reference::spelling_of_attribute(name);
    if (typed && name != "recurseForDerivations" && !blocked.has(name_in(set, name)) &&
        !blocked.has(name_in(set, *typed)))
      kept.push_back(*std::move(typed));
  }
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return kept;
}

}  // namespace nixery::pipeline
