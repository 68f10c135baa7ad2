#include "nix/refusal.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "nix/error_message.h"
#include "text/ascii.h"
#include "text/plain_text.h"
#include "text/utf8.h"

namespace nixery::nix {

namespace {

constexpr std::size_t longest_reason = 300;  // bytes

// Blanks and line ends as one blank each, and one kind of quotes: versions differ in where they break lines.
std::string flattened(std::string_view text) {
  std::string flat;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool quote = text.substr(i).starts_with("‘") || text.substr(i).starts_with("’");
    const char c = quote ? '\'' : text[i];
    if (quote) i += std::string_view("‘").size() - 1;
    if (c == '\n' || c == '\t' || c == ' ') {
      if (!flat.ends_with(' ')) flat += ' ';
    } else {
      flat += c;
    }
  }
  return flat;
}

std::string_view after(std::string_view text, std::string_view words) {
  const auto at = text.find(words);
  return at == text.npos ? std::string_view() : text.substr(at + words.size());
}

std::string_view before(std::string_view text, std::string_view words) {
  return text.substr(0, text.find(words));
}

std::string shortened(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  if (text.size() <= longest_reason) return std::string(text);
  return fmt::format("{}…", text::truncated(text, longest_reason));
}

struct Statement {
  std::string_view derivation;
  std::string_view problem;  // "is marked as insecure"
  std::string_view rest;     // known vulnerabilities and advice
};

// "Package 'x' in /file:1 PROBLEM, refusing to evaluate. REST"
// "Refusing to evaluate package 'x' in /file:1 because it PROBLEM REST", of 2026
std::optional<Statement> read_statement(std::string_view text) {
  Statement statement;
  const bool is_new = text.starts_with("Refusing to evaluate package '");
  if (!is_new && !text.starts_with("Package '")) return std::nullopt;
  text = after(text, "'");
  statement.derivation = before(text, "'");
  if (is_new) {
    statement.problem = statement.rest = after(text, " because it ");
  } else {
    const std::string_view said = before(text, ", refusing to evaluate.");
    if (said.size() == text.size()) return std::nullopt;
    statement.rest = text.substr(said.size());
    // Behind "' in /file:1 "; the file's name may hold anything but a colon and a line.
    text = after(said, "' in ");
    const auto colon = text.find(':');
    const auto unknown = text.find("«unknown-file»");
    statement.problem = after(text.substr(colon != text.npos && unknown == text.npos ? colon : 0), " ");
  }
  if (statement.problem.empty()) return std::nullopt;
  return statement;
}

std::string quoted_part(std::string_view problem) {
  return shortened(before(after(problem, "('"), "')"));
}

// " - one - two You can install it anyway" -> "one; two"
std::string vulnerabilities(std::string_view rest) {
  std::string_view listed = before(after(rest, "Known issues:"), " You can install it anyway");
  std::string text;
  for (listed = after(listed, " - "); !listed.empty(); listed = after(listed, " - "))
    text += (text.empty() ? "" : "; ") + shortened(before(listed, " - "));
  return shortened(text);
}

// "broken: This package is broken." of problems.nix; some kinds have a name of their own: "x (kind "removal"): …"
std::optional<Refusal> read_problem(std::string_view problem, std::string_view derivation) {
  const std::string_view name = before(problem, ": ");
  if (name.size() == problem.size()) return std::nullopt;
  const auto is_kind = [&](std::string_view kind) {
    return name == kind || name.ends_with(fmt::format("(kind \"{}\")", kind));
  };
  const std::string said =
      shortened(before(before(before(after(problem, ": "), " See also http"), " - removal: "), " - deprecated: "));
  const std::string it(derivation);
  if (is_kind("broken")) return Refusal{Failure::broken, it, "is marked as broken"};
  if (is_kind("removal")) return Refusal{Failure::removed, it, fmt::format("is to be removed ({})", said)};
  if (is_kind("deprecated")) return Refusal{Failure::forbidden, it, fmt::format("is deprecated ({})", said)};
  if (is_kind("maintainerless")) return Refusal{Failure::forbidden, it, "has no maintainer"};
  return std::nullopt;
}

// "steam-original-1.0.0.61" -> "steam-original", as builtins.parseDrvName has it
std::string_view without_version(std::string_view derivation) {
  for (std::size_t i = 0; i + 1 < derivation.size(); ++i)
    if (derivation[i] == '-' && text::is_digit(derivation[i + 1])) return derivation.substr(0, i);
  return derivation;
}

// By which setting the operator allows it.
std::string setting_for(const Refusal& refusal) {
  const auto with = [](std::string_view setting, std::string_view value) {
    return value.empty() ? std::string(setting) : fmt::format("{}={}", setting, value);
  };
  switch (refusal.failure) {
    case Failure::unfree: return with("NIXERY_ALLOW_UNFREE", without_version(refusal.derivation));
    case Failure::broken: return with("NIXERY_ALLOW_BROKEN", without_version(refusal.derivation));
    case Failure::insecure: return with("NIXERY_ALLOW_INSECURE", refusal.derivation);
    default: return "NIXERY_NIXPKGS_CONFIG";
  }
}

}  // namespace

std::optional<Refusal> read_refusal(std::string_view standard_error) {
  const std::string text = flattened(text::plain_text(last_error(standard_error)));
  // With handleEvalIssue, problems.nix names no package.
  if (const auto problem = read_problem(text, "")) return problem;
  const auto statement = read_statement(text);
  if (!statement) return std::nullopt;
  const std::string_view derivation = statement->derivation, problem = statement->problem;
  const auto refusal = [&](Failure failure, std::string what) {
    return Refusal{failure, std::string(derivation), std::move(what)};
  };
  if (problem.starts_with("has an unfree license"))
    return refusal(Failure::unfree, fmt::format("has an unfree license ({})", quoted_part(problem)));
  if (problem.starts_with("is marked as broken")) return refusal(Failure::broken, "is marked as broken");
  if (problem.starts_with("is marked as insecure")) {
    const std::string issues = vulnerabilities(statement->rest);
    return refusal(Failure::insecure,
                   issues.empty() ? "is marked as insecure" : fmt::format("is marked as insecure ({})", issues));
  }
  if (problem.starts_with("is not supported on") || problem.starts_with("is not available on the requested"))
    return refusal(Failure::unsupported_platform, "does not support this platform");
  if (problem.starts_with("has a blacklisted license") || problem.starts_with("has a blocklisted license"))
    return refusal(Failure::forbidden, fmt::format("has a blocked license ({})", quoted_part(problem)));
  if (problem.starts_with("contains elements not built from source"))
    return refusal(Failure::forbidden, fmt::format("is not built from source ({})", quoted_part(problem)));
  if (problem.starts_with("has problems: - ")) return read_problem(after(problem, "has problems: - "), derivation);
  return std::nullopt;
}

Error refusal_error(const Refusal& refusal, std::string_view requested, const reference::Platform& platform) {
  const std::string it = refusal.derivation.empty() ? fmt::format("it {}", refusal.what)
                                                    : fmt::format("{} {}", refusal.derivation, refusal.what);
  const std::string subject = requested.empty() ? "the package set" : fmt::format("package '{}'", requested);
  if (refusal.failure == Failure::unsupported_platform)
    return Error(refusal.failure, fmt::format("{} is not available for {}: {}", subject, platform.nix_system, it));
  return Error(refusal.failure,
               fmt::format("{} is not served: {}; the operator of this registry may allow it with the setting {}",
                           subject, it, setting_for(refusal)));
}

bool describes_removal(std::string_view message) {
  const std::string said = text::lower_case(message);
  constexpr std::string_view words[] = {
      "removed",   "removal",    "renamed",  "replaced", "deprecated", "no longer",  "end of life", "end-of-life",
      " eol",      "maintained", "moved to", "instead",  "supersed",   "dropped",    "obsolete",    "discontinued",
      "abandoned", "archived",   "anymore",  "is now",   "merged",     "built into", "outdated"};
  return std::any_of(std::begin(words), std::end(words),
                     [&](std::string_view word) { return said.find(word) != said.npos; });
}

}  // namespace nixery::nix
