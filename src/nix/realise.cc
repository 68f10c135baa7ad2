#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "error.h"
#include "nix/build_probe.h"
#include "nix/error_message.h"
#include "nix/fault.h"
#include "nix/fixed_output.h"
#include "nix/log_line.h"
#include "nix/nix.h"
#include "os/argument_batches.h"
#include "os/file.h"
#include "os/process.h"
#include "text/lines.h"
#include "text/utf8.h"

namespace nixery::nix {

namespace {

constexpr std::size_t log_lines_shown = 10, longest_shown = 4096;
constexpr std::size_t most_errors = 100;                // that one run is remembered to have said
constexpr std::size_t max_derivation_size = 16u << 20;  // bytes
constexpr std::size_t longest_outputs = 16u << 10;      // of a derivation, in one argument
constexpr std::chrono::seconds answer_limit{10};
// What was found of Nix earlier says nothing about a build that failed now.
constexpr std::chrono::seconds probe_age{30};

// What `nix-store --realise` says by its status, each bit a finding (nix-store(1), "Exit status").
constexpr int failed = 100, build_timeout_bit = 1;

// Empty if there is none of that name: a line of the log says what a program printed, so its path is not to be trusted.
std::string text_of_derivation(const std::string& path) {
  const auto parsed = store::StorePath::parse(path);
  if (!parsed || !parsed->name().ends_with(".drv")) return {};
  return os::read_regular_file(parsed->str(), max_derivation_size).value_or("");
}

// What a running nix says: handed on for people to read, and why it failed, in its own words alone.
class FailureClassifier {
 public:
  explicit FailureClassifier(const ProcessObserver& observer) : observer_(observer) {}

  void hear(std::string_view printed) {
    const LogLine line = read_log_line(printed);
    if (line.kind == LogLine::Kind::nothing) return;
    if (!line.derivation.empty() && is_fixed_output(text_of_derivation(line.derivation)))
      fetches_[line.activity].derivation = line.derivation;
    if (line.kind == LogLine::Kind::builder)
      if (const auto fetch = fetches_.find(line.activity); fetch != fetches_.end() && tells_of_network(line.text))
        fetch->second.complaint = text::truncated(line.text, longest_shown);
    if (line.kind == LogLine::Kind::notice && build_fault_in(line.text) == NixFault::network)
      failed_download_ = text::truncated(line.text, longest_shown);
    if (line.kind == LogLine::Kind::error) keep(own_, without_quotes(line.text), most_errors);
    if (line.kind == LogLine::Kind::relayed) keep(relayed_, without_quotes(line.text), most_errors);
    for (const std::string_view part : text::split(line.text, '\n')) show(part);
  }

  // The last words of nix that `are_meant`; empty if none are. `with_relayed`: those that came through a daemon count,
  // too.
  std::string find(const std::function<bool(const std::string&)>& are_meant, bool with_relayed) const {
    if (const auto found = std::find_if(own_.rbegin(), own_.rend(), are_meant); found != own_.rend()) return *found;
    if (!with_relayed) return {};
    const auto found = std::find_if(relayed_.rbegin(), relayed_.rend(), are_meant);
    return found == relayed_.rend() ? "" : *found;
  }

  // How a fetch that nix names as failed said that the network fails it; empty if none did.
  std::string failed_fetch() const {
    for (const auto& [activity, fetch] : fetches_) {
      const std::string name = fmt::format("'{}'", fetch.derivation);
      const auto names_it = [&name](const std::string& words) { return words.find(name) != words.npos; };
      if (!fetch.complaint.empty() && !find(names_it, true).empty())
        return fmt::format("{} says: {}", fetch.derivation, fetch.complaint);
    }
    return {};
  }

  // The last warning that a download failed, after which Nix does without that cache; empty if there was none.
  const std::string& failed_download() const { return failed_download_; }

  std::string end() const {
    std::string text;
    for (const std::string& line : shown_) text += (text.empty() ? "" : "\n") + line;
    return text;
  }

 private:
  struct Fetch {
    std::string derivation;
    std::string complaint;  // its last word on the network; may be empty
  };

  static void keep(std::deque<std::string>& lines, std::string line, std::size_t most) {
    lines.push_back(std::move(line));
    if (lines.size() > most) lines.pop_front();
  }

  void show(std::string_view line) {
    if (observer_.on_line) observer_.on_line(line);
    keep(shown_, std::string(text::truncated(line, longest_shown)), log_lines_shown);
  }

  const ProcessObserver& observer_;
  std::deque<std::string> own_, relayed_, shown_;
  std::map<std::uint64_t, Fetch> fetches_;  // builds that only fetch something, by activity
  std::string failed_download_;
};

// "builder for '/nix/store/….drv' failed with exit code 1", on one line.
std::string sentence_of(const std::string& words, const os::ProcessResult& outcome) {
  const std::string said = error_message(words);
  if (!said.empty()) return said;
  return words.empty() ? "nix-store " + outcome.describe() : words;
}

// Of all that Nix said, by status and words, what made it fail. Through a daemon every failure has status 1, and
// the errors of all but the last derivation are relayed.
class Diagnosis {
 public:
  Diagnosis(const os::ProcessResult& result, const FailureClassifier& said)
      : result_(result), said_(said), has_findings_(result.code >= failed) {}

  bool timed_out() const {
    return has_findings_ ? ((result_.code - failed) & build_timeout_bit) != 0 : !with("timed out after").empty();
  }

  struct Fault {
    NixFault kind;
    std::string words;
  };
  std::optional<Fault> fault() const {
    // Nix ends at a fault of its own, so that this is the last that it says.
    const std::string last = with("");
    if (!has_findings_ && !is_build_failure(last))
      if (const auto kind = fault_in(last)) return Fault{*kind, sentence(last)};
    const std::string words = words_that([](const std::string& each) { return build_fault_in(each).has_value(); });
    if (words.empty()) return std::nullopt;
    return Fault{*build_fault_in(words), sentence(words)};
  }

  // The build that failed, rather than those that need it.
  std::string reason() const {
    const std::string words = said_.find([](const std::string& each) { return !is_failed_dependency(each); }, true);
    return sentence(words.empty() ? with("") : words);
  }

  // The last words that have `text` in them; empty if none have.
  std::string with(std::string_view text) const {
    return words_that([=](const std::string& words) { return words.find(text) != words.npos; });
  }
  std::string words_that(const std::function<bool(const std::string&)>& are_meant) const {
    return said_.find(are_meant, !has_findings_);
  }
  std::string sentence(const std::string& words) const { return sentence_of(words, result_); }

 private:
  const os::ProcessResult& result_;
  const FailureClassifier& said_;
  const bool has_findings_;
};

Error realise_error(const NixSettings& settings, const os::ProcessResult& result, const FailureClassifier& classifier,
                    const std::stop_token& stop) {
  const std::string end = classifier.end();
  if (result.end != os::ProcessResult::End::exited)
    return Error(Failure::unavailable, fmt::format("the build was cut off: nix-store {}", result.describe()), end);

  const Diagnosis diagnosis(result, classifier);
  if (diagnosis.timed_out()) {
    const std::string words = diagnosis.with("timed out after");
    return Error(Failure::timed_out,
                 fmt::format("the build took longer than {} s and was stopped: {}", settings.build_limit.count(),
                             words.empty() ? diagnosis.reason() : diagnosis.sentence(words)),
                 end);
  }
  for (const char* text : {"is required to build", "required system or feature"})
    if (const std::string words = diagnosis.with(text); !words.empty())
      return Error(Failure::unsupported_platform,
                   fmt::format("nobody here can build for that platform: {}", diagnosis.sentence(words)), end);
  if (const std::string words = diagnosis.words_that(lacks_derivation); !words.empty())
    return Error(Failure::unavailable,
                 fmt::format("nix's garbage collection took away what was to be built, try again: {}",
                             diagnosis.sentence(words)),
                 end);
  const auto at_fault = [&](NixFault fault, std::string_view what, std::string_view why) {
    if (settings.faults) (*settings.faults)[static_cast<std::size_t>(fault)].add();
    if (settings.probe) settings.probe->distrust();
    return Error(Failure::unavailable, fmt::format("{}: {}", what, why), end);
  };
  constexpr const char* cannot_build = "nix cannot build now";
  if (const auto fault = diagnosis.fault()) return at_fault(fault->kind, cannot_build, fault->words);
  constexpr const char* no_download = "a download failed for the network";
  if (const std::string fetch = classifier.failed_fetch(); !fetch.empty())
    return at_fault(NixFault::network, no_download, fetch);
  const bool is_disabled = !diagnosis.words_that(is_disabled_build).empty();
  // A path that had to come from a cache that does not respond.
  if (!classifier.failed_download().empty() && (is_disabled || !is_build_failure(diagnosis.reason())))
    return at_fault(NixFault::network, no_download, classifier.failed_download());
  if (is_disabled)
    return Error(Failure::not_cached,
                 settings.substitute_only
                     ? "no binary cache of this registry has the whole image, and it compiles nothing: the operator "
                       "decides that, by NIXERY_SUBSTITUTE_ONLY"
                     : "no binary cache of this registry has the whole image, and its Nix compiles nothing: the "
                       "operator decides that, by max-jobs and builders in nix.conf",
                 end);
  if (settings.probe)
    if (const std::string trouble = settings.probe->trouble(probe_age, stop); !trouble.empty())
      return at_fault(fault_in(trouble).value_or(NixFault::other), cannot_build, trouble);
  return Error(Failure::build_failed, fmt::format("the build failed: {}", diagnosis.reason()), end);
}

void run_realise(const NixSettings& settings, const std::vector<std::string>& arguments,
                 const ProcessObserver& observer) {
  os::Command command;
  command.argv = {"nix-store",     "--realise", "--log-format",
                  "internal-json", "--timeout", fmt::format("{}", settings.build_limit.count())};
  if (settings.substitute_only)
    command.argv.insert(command.argv.end(), {"--max-jobs", "0", "--option", "builders", ""});
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  command.env = {{"LC_ALL", "C"}};
  command.stop = observer.stop;
  FailureClassifier classifier(observer);
  command.on_error_line = [&](std::string_view line) { classifier.hear(line); };
  const os::ProcessResult outcome = os::run(command);
  if (!outcome.ok()) throw realise_error(settings, outcome, classifier, observer.stop);
}

// "/nix/store/…-curl.drv!bin,out"; several, if the derivation has very many outputs.
std::vector<std::string> wanted_outputs(const std::vector<const Package*>& packages) {
  std::vector<std::string> words;
  for (const Package* package : packages) {
    std::string outputs;
    const auto add = [&] { words.push_back(fmt::format("{}!{}", package->drv_path, std::exchange(outputs, {}))); };
    for (const Output& output : package->outputs) {
      if (outputs.size() > longest_outputs) add();
      outputs += (outputs.empty() ? "" : ",") + output.name;
    }
    add();
  }
  return words;
}

std::string query(const std::vector<std::string>& options, std::vector<std::string> paths,
                  const std::stop_token& stop) {
  std::string output;
  for (const auto& batch : os::argument_batches(std::move(paths))) {
    os::Command command;
    command.argv = {"nix-store"};
    command.argv.insert(command.argv.end(), options.begin(), options.end());
    command.argv.insert(command.argv.end(), batch.begin(), batch.end());
    command.stop = stop;
    const os::ProcessResult outcome = os::run(command);
    if (!outcome.ok())
      throw Error(Failure::unavailable,
                  fmt::format("nix-store {}: {}", outcome.describe(), error_message(outcome.error_tail)),
                  outcome.error_tail);
    output += outcome.output;
  }
  return output;
}

// What realising `outputs` would have to do, added to `missing`.
void add_missing(Missing& missing, const std::vector<std::string>& outputs, const std::stop_token& stop) {
  os::Command command;
  command.argv = {"nix-store", "--realise", "--dry-run"};
  command.argv.insert(command.argv.end(), outputs.begin(), outputs.end());
  command.env = {{"LC_ALL", "C"}};
  command.stop = stop;
  std::vector<std::string>* listed = nullptr;
  command.on_error_line = [&](std::string_view line) {
    // "these 2 derivations will be built:", "this path will be fetched (1.00 MiB download, 2.00 MiB unpacked):"
    if (line.ends_with("will be built:")) {
      listed = &missing.to_build;
    } else if (line.find("will be fetched") != line.npos) {
      listed = &missing.to_fetch;
      const auto open = line.find('('), close = line.find(')');
      if (open != line.npos && close != line.npos)
        missing.download +=
            (missing.download.empty() ? "" : "; ") + std::string(line.substr(open + 1, close - open - 1));
    } else if (line.starts_with("  /") && listed) {
      listed->emplace_back(line.substr(2));
    } else {
      listed = nullptr;
    }
  };
  const os::ProcessResult outcome = os::run(command);
  if (!outcome.ok())
    throw Error(Failure::unavailable,
                fmt::format("nix-store {}: {}", outcome.describe(), error_message(outcome.error_tail)));
}

}  // namespace

bool lacks_derivation(std::string_view words) {
  const auto has = [&](std::string_view text) { return words.find(text) != words.npos; };
  return has("missing derivation") || (has(".drv'") && has("is not valid"));
}

Missing missing_for(const std::vector<const Package*>& packages, const std::stop_token& stop) {
  Missing missing;
  for (const auto& batch : os::argument_batches(wanted_outputs(packages))) add_missing(missing, batch, stop);
  return missing;
}

void realise(const NixSettings& settings, const std::vector<const Package*>& packages, const fs::path& roots,
             const ProcessObserver& observer) {
  os::make_directories(roots);
  std::size_t number = 0;
  try {
    for (const auto& batch : os::argument_batches(wanted_outputs(packages))) {
      std::vector<std::string> arguments = {"--add-root", (roots / fmt::format("{}", number++)).string(), "--indirect"};
      arguments.insert(arguments.end(), batch.begin(), batch.end());
      run_realise(settings, arguments, observer);
    }
  } catch (const Error&) {
    rmdir(roots.c_str());  // nix makes it again for another build that is at work on the same
    throw;
  }
}

void realise_paths(const NixSettings& settings, const std::vector<store::StorePath>& paths,
                   const ProcessObserver& observer) {
  std::vector<std::string> arguments;
  for (const store::StorePath& path : paths) arguments.push_back(path.str());
  for (const auto& batch : os::argument_batches(std::move(arguments))) run_realise(settings, batch, observer);
}

std::vector<store::StorePath> valid_of(const std::vector<store::StorePath>& paths, const std::stop_token& stop) {
  std::vector<std::string> asked;
  for (const store::StorePath& path : paths) asked.push_back(path.str());
  const auto invalid = text::lines(query({"--check-validity", "--print-invalid"}, std::move(asked), stop));
  std::vector<store::StorePath> valid;
  const std::set<std::string_view> gone(invalid.begin(), invalid.end());
  for (const store::StorePath& path : paths)
    if (!gone.contains(path.str())) valid.push_back(path);
  return valid;
}

void check_store(const std::stop_token& stop) {
  os::Command command;
  command.argv = {"nix-store", "--check-validity", "--print-invalid",
                  fmt::format("{}/00000000000000000000000000000000-nothing", store::store_dir)};
  command.limit = answer_limit;
  command.stop = stop;
  const os::ProcessResult outcome = os::run(command);
  const std::string said = error_message(outcome.error_tail);
  if (!outcome.ok())
    throw Error(Failure::unavailable,
                fmt::format("nix-store {}{}", outcome.describe(), said.empty() ? "" : ": " + said));
}

store::Closure closure_of(const std::vector<store::StorePath>& paths, const std::stop_token& stop) {
  std::vector<std::string> roots;
  for (const store::StorePath& path : paths) roots.push_back(path.str());
  std::vector<std::string> all = text::lines(query({"--query", "--requisites"}, std::move(roots), stop));
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return store::parse_dump_db(query({"--dump-db"}, std::move(all), stop));
}

}  // namespace nixery::nix
