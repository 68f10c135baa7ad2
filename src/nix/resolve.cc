#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "error.h"
#include "json/json.h"
#include "log.h"
#include "nix/attribute_names.h"
#include "nix/build_probe.h"
#include "nix/error_message.h"
#include "nix/fault.h"
#include "nix/nix.h"
#include "nix/refusal.h"
#include "nix/request.h"
#include "os/process.h"
#include "text/plain_text.h"

namespace nixery::nix {

namespace {

constexpr std::string_view marker = "trace: nixery-at ";

// Where an evaluation is, as resolve.nix traces it.
struct Step {
  std::string kind;  // "looking", "thrown", …; empty before the set itself has been evaluated
  std::string name;  // of the package
};

Step read_step(std::string_view text) {
  const auto blank = std::min(text.find(' '), text.size());
  return {std::string(text.substr(0, blank)), std::string(text.substr(std::min(blank + 1, text.size())))};
}

[[noreturn]] void throw_blocked(const std::string& requested) {
  throw Error(Failure::forbidden, fmt::format("package '{}' is not served by this registry", requested));
}

// Of the first problem of an answer.
Error to_error(const json::Document& answer, const reference::Platform& platform, const AttributeNames& known) {
  const json::Value& problem = (*json::find(answer, "problems"))[0];
  const std::string kind = json::string_or(problem, "problem", "");
  const std::string requested = json::string_or(problem, "requested", "");
  if (kind == "unknown") {
    const std::string within = json::string_or(problem, "within", "");
    const auto names = json::strings_at(problem, "names");
    const auto outermost = within.empty() ? names : json::strings_at(answer, "outermost");
    known.remember(within, names);
    if (!within.empty()) known.remember("", outermost);
    return unknown_package(requested, within, names, outermost);
  }
  if (kind == "blocked") throw_blocked(requested);
  if (kind == "unsupported")
    return Error(Failure::unsupported_platform,
                 fmt::format("package '{}' is not available for {}", requested, platform.nix_system));
  if (kind == "set") {
    const auto example = reference::spelling_of_attribute(json::string_or(problem, "example", ""));
    return Error(Failure::not_a_package,
                 example ? fmt::format("'{0}' is a set of packages, not a package: name one inside, such as '{0}.{1}'",
                                       requested, *example)
                         : fmt::format("'{}' is a set, not a package, and no package was found in it", requested));
  }
  return Error(Failure::not_a_package,
               fmt::format("'{}' is an attribute of the package set, but not a package", requested));
}

json::Document read_answer(std::string_view text) {
  try {
    return json::parse(text, "the output of nix-instantiate");
  } catch (const Error& error) {
    throw Error(Failure::evaluation_failed, error.what());
  }
}

// Both become arguments of nix-store: "<derivation>!<output>,<output>".
void check_names(const Package& package) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._?=";
  const bool has_drv = store::StorePath::parse(package.drv_path) && package.drv_path.ends_with(".drv");
  const bool has_outputs = !package.outputs.empty() &&
                           std::all_of(package.outputs.begin(), package.outputs.end(), [&](const Output& output) {
                             return !output.name.empty() && output.name.find_first_not_of(allowed) == std::string::npos;
                           });
  if (!has_drv || !has_outputs)
    throw Error(Failure::evaluation_failed,
                fmt::format("package '{}' has no well-formed derivation and outputs", package.attribute));
}

// Before anything is evaluated.
void refuse_blocked(const NameList& blocked, const std::vector<reference::AttributePath>& names) {
  for (const reference::AttributePath& name : names)
    if (blocked.has(name.text)) throw_blocked(name.text);
}

// By the set's own spelling and by the package's name. resolve.nix itself reports aliases of blocked paths.
void refuse_blocked(const NameList& blocked, const Package& package) {
  if (blocked.has(package.attribute) || blocked.has(package.pname)) throw_blocked(package.requested);
}

Package to_package(const json::Value& value) {
  Package package;
  package.requested = json::string_or(value, "requested", "");
  package.attribute = json::string_or(value, "attribute", "");
  package.drv_path = json::string_or(value, "drvPath", "");
  // It is printed, and published in annotations and documents: as plain text everywhere.
  const auto text_at = [&](const char* key) { return text::plain_text(json::string_or(value, key, "")); };
  package.name = text_at("name");
  package.pname = text_at("pname");
  package.version = text_at("version");
  package.description = text_at("description");
  package.homepage = text_at("homepage");
  package.main_program = json::string_or(value, "mainProgram", "");
  for (const std::string& license : json::strings_at(value, "licenses"))
    package.licenses.push_back(text::plain_text(license));
  package.priority = static_cast<int>(json::integer_at(value, "priority").value_or(5));
  if (const json::Value* outputs = json::find(value, "outputs"); outputs && outputs->IsArray())
    for (const json::Value& output : outputs->GetArray()) {
      const std::string path = json::string_or(output, "path", "");
      auto parsed = store::StorePath::parse(path);
      if (!parsed)
        throw Error(Failure::evaluation_failed, fmt::format("package '{}' has an output outside {}: '{}'",
                                                            package.attribute, store::store_dir, path));
      package.outputs.push_back({json::string_or(output, "name", "out"), *std::move(parsed)});
    }
  check_names(package);
  return package;
}

std::string without_markers(std::string text) {
  for (std::size_t at; (at = text.find(marker)) != std::string::npos;)
    text.erase(at, std::min(text.find('\n', at), text.size() - 1) - at + 1);
  return text;
}

// Not by a fault of the evaluation's own: by an operator, or a kernel that ran out of memory. (Nix that is told to end
// while it starts ends by the SIGUSR1 that it interrupts its own threads with.)
bool killed_from_outside(const os::ProcessResult& outcome) {
  constexpr int own_faults[] = {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGXCPU};
  return outcome.end == os::ProcessResult::End::signalled &&
         std::find(std::begin(own_faults), std::end(own_faults), outcome.code) == std::end(own_faults);
}

Error evaluation_error(const NixSettings& settings, const os::ProcessResult& outcome, const Step& step,
                       const reference::Platform& platform) {
  const std::string subject = step.name.empty() ? "the package set" : fmt::format("package '{}'", step.name);
  if (outcome.end == os::ProcessResult::End::timed_out)
    return Error(Failure::timed_out, fmt::format("evaluation of {} took longer than {} s and was stopped", subject,
                                                 settings.evaluation_limit.count()));
  if (const auto refusal = read_refusal(outcome.error_tail)) return refusal_error(*refusal, step.name, platform);
  if (outcome.end == os::ProcessResult::End::stopped || killed_from_outside(outcome))
    return Error(Failure::unavailable,
                 fmt::format("the evaluation of {} was cut off: nix {}", subject, outcome.describe()));
  const std::string said = error_message(outcome.error_tail);
  const std::string printed = without_markers(outcome.error_tail);
  const auto mentions = [&](std::string_view text) { return outcome.error_tail.find(text) != std::string::npos; };
  if (const auto fault = evaluation_fault_in(said)) {
    if (settings.faults) (*settings.faults)[static_cast<std::size_t>(*fault)].add();
    if (settings.probe) settings.probe->distrust();
    return Error(Failure::unavailable, fmt::format("nix cannot evaluate {} now: {}", subject, said), printed);
  }
  if (mentions("out of memory") || mentions("Out of memory") || mentions("std::bad_alloc"))
    return Error(Failure::evaluation_failed,
                 fmt::format("evaluation of {} needs more memory than this registry allows", subject));
  if (mentions("stack overflow") || outcome.end == os::ProcessResult::End::signalled)
    return Error(
        Failure::evaluation_failed,
        fmt::format("evaluation of {} failed: nix {}{}", subject, outcome.describe(), said.empty() ? "" : ": " + said),
        printed);
  // Of packages that know themselves where they work.
  for (const char* words : {"is not supported on", "nsupported system", "nsupported platform"})
    if (said.find(words) != said.npos)
      return Error(Failure::unsupported_platform,
                   fmt::format("{} is not available for {}: {}", subject, platform.nix_system, said));
  if (step.kind == "thrown" && describes_removal(said))
    return Error(Failure::removed, fmt::format("{} was removed or renamed: {}", subject, said));
  return Error(Failure::evaluation_failed,
               fmt::format("{} cannot be evaluated: {}", subject, said.empty() ? outcome.describe() : said), printed);
}

struct Evaluation {
  os::ProcessResult result;
  Step step;  // the last one
  bool exited_with_error() const { return result.end == os::ProcessResult::End::exited && result.code != 0; }
};

Evaluation evaluate(const NixSettings& settings, const PinnedSource& source,
                    const std::vector<reference::AttributePath>& names, const reference::Platform& platform,
                    const ProcessObserver& observer, Examples examples) {
  if (settings.evaluations) settings.evaluations->run.add();
  const RequestFiles request(settings.scratch.empty() ? fs::temp_directory_path() : settings.scratch,
                             request_json(settings, names, platform, examples), settings.nixpkgs);
  const auto expression = fs::canonical(settings.resolve_nix).string();
  os::Command command;
  command.argv = {"nix-instantiate",
                  "--eval",
                  "--strict",
                  "--json",
                  "--read-write-mode",
                  "--option",
                  "restrict-eval",
                  "true",
                  "--option",
                  "allow-import-from-derivation",
                  "false",
                  "-I",
                  "nixery-packages=" + fs::canonical(source.directory).string(),
                  "-I",
                  "nixery-resolve=" + expression};
  for (std::string& word : request.arguments()) command.argv.push_back(std::move(word));
  command.argv.push_back(expression);
  // Only what was pinned may be looked up, regardless of the environment.
  command.env = {{"NIX_PATH", ""}, {"LC_ALL", "C"}};
  command.limit = settings.evaluation_limit;
  command.memory_limit = settings.evaluation_memory;
  command.stop = observer.stop;
  Evaluation evaluation;
  command.on_error_line = [&](std::string_view line) {
    if (line.starts_with(marker)) {
      evaluation.step = read_step(line.substr(marker.size()));
    } else if (observer.on_line) {
      observer.on_line(text::plain_text(line));
    }
  };
  evaluation.result = os::run(command);
  return evaluation;
}

// `error` is why the whole set cannot be evaluated for `platform`. What no platform has is not a matter of this one.
Error set_error(const Error& error, const NixSettings& settings, const PinnedSource& source,
                const std::vector<reference::AttributePath>& names, const reference::Platform& platform,
                const ProcessObserver& observer) {
  try {
    resolve(settings, source, names, reference::host_platform(), observer);
  } catch (const Error& of_host) {
    if (of_host.failure() == Failure::unknown_package || of_host.failure() == Failure::not_a_package) return of_host;
    if (of_host.failure() == error.failure()) return error;
  }
  return Error(Failure::unsupported_platform,
               fmt::format("the package set has no packages for {}: {}", platform.nix_system, error.what()));
}

std::optional<Package> to_cacert(const json::Value& answer) {
  const json::Value* cacert = json::find(answer, "cacert");
  if (!cacert || cacert->IsNull()) return std::nullopt;
  try {
    if (cacert->IsObject()) return to_package(*cacert);
    log::warning("images get no certificates", {{"reason", "the package set's cacert cannot be evaluated"}});
  } catch (const Error& error) {
    log::warning("images get no certificates", {{"reason", error.what()}});
  }
  return std::nullopt;
}

}  // namespace

Resolution resolve(const NixSettings& settings, const PinnedSource& source,
                   const std::vector<reference::AttributePath>& names, const reference::Platform& platform,
                   const ProcessObserver& observer) {
  refuse_blocked(settings.blocked, names);
  const AttributeNames known(settings.attribute_names, source.revision, settings.nixpkgs, platform);
  try {
    known.refuse_unknown(names);
  } catch (const Error&) {
    if (settings.evaluations) settings.evaluations->spared.add();
    throw;
  }
  Evaluation evaluation = evaluate(settings, source, names, platform, observer, Examples::wanted);
  if (evaluation.exited_with_error() && evaluation.step.kind == "example")
    evaluation = evaluate(settings, source, names, platform, observer, Examples::unwanted);
  if (!evaluation.result.ok()) {
    const Error error = evaluation_error(settings, evaluation.result, evaluation.step, platform);
    const bool of_set = evaluation.exited_with_error() && evaluation.step.kind.empty() && !error.transient();
    if (!of_set || platform == reference::host_platform()) throw error;
    throw set_error(error, settings, source, names, platform, observer);
  }

  const auto document = read_answer(evaluation.result.output);
  if (const json::Value* problems = json::find(document, "problems");
      problems && problems->IsArray() && !problems->Empty())
    throw to_error(document, platform, known);
  Resolution resolution;
  if (const json::Value* packages = json::find(document, "packages"); packages && packages->IsArray())
    for (const json::Value& package : packages->GetArray()) resolution.packages.push_back(to_package(package));
  resolution.cacert = to_cacert(document);
  for (const Package& package : resolution.packages) refuse_blocked(settings.blocked, package);
  if (resolution.packages.size() != names.size())
    throw Error(Failure::evaluation_failed, "the package set answered for fewer packages than were asked for");
  return resolution;
}

}  // namespace nixery::nix
